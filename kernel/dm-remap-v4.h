/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the target share. The way of a bio:
 *
 *   dm-remap-v4-real-main.c  map, end_io: the healthy path, and what leaves it
 *   dm-remap-v4-recover.c    the worker: failed bios are looked into and
 *                            completed, in rounds
 *   dm-remap-v4-narrow.c     which blocks fail, and where their data goes
 *   dm-remap-v4-breaker.c    is it the block or the device?
 *   dm-remap-v4-txn.c        what was found becomes durable, then visible
 *   dm-remap-v4-flush.c      flushes that fail, and who must know
 *   dm-remap-v4-relocate.c   blocks moved on request (messages)
 *   dm-remap-v4-activate.c   what happens on resume and suspend
 *   dm-remap-v4-replay.c     what the log says becomes the map
 *
 * Contexts: "worker" below means the one ordered workqueue c->wq; whatever is
 * marked so needs no lock, because nothing else touches it while the device is
 * live (preresume and postsuspend run when the worker has nothing to do).
 */
#ifndef DM_REMAP_V4_H
#define DM_REMAP_V4_H

#include <linux/bio.h>
#include <linux/completion.h>
#include <linux/device-mapper.h>
#include <linux/kobject.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/srcu.h>
#include <linux/workqueue.h>

#include "dm-remap-v4-hold.h"
#include "dm-remap-v4-map.h"
#include "dm-remap-v4-metadata.h"
#include "dm-remap-v4-space.h"

#define DMR_TXN_RECORDS		512
#define DMR_BOUNCE_PAGES	16
#define DMR_BOUNCE_SECTORS	(DMR_BOUNCE_PAGES * (PAGE_SIZE >> SECTOR_SHIFT))
#define DMR_REQUEST_SECTORS	2048	/* the most that one request moves */

enum dmr_mode {
	DMR_RW,			/* as it should be */
	DMR_RO,			/* remaps are served, new errors go to the caller */
	DMR_FAIL,		/* the metadata can't be trusted */
};

enum dmr_action {
	DMR_EV_REMAP,
	DMR_EV_PENDING,
	DMR_EV_UNMAP,
	DMR_EV_COPY_LOST,
	DMR_EV_COPY_MENDED,
	DMR_EV_SPARE_NEARLY_FULL,
	DMR_EV_SPARE_FULL,
	DMR_EV_MODE,
	DMR_EV_BREAKER,
	DMR_NR_ACTIONS,
};

/* What happened of one kind since the last uevent. */
struct dmr_event {
	u32 extents;		/* 0: nothing; neighbours count as one */
	sector_t sector;	/* the lowest, on main, where that means something */
	sector_t sectors;	/* in all */
	sector_t end;		/* of the last */
};

/* Written by the worker (WRITE_ONCE), read anywhere (READ_ONCE). */
struct dmr_counters {
	u64 read_errors;	/* bios that failed and were looked into */
	u64 write_errors;
	u64 salvaged;		/* sectors that came back, or were moved in time */
	u64 lost;		/* sectors that became pending */
	u64 scrub;		/* sector of main where a scrub goes on */
	u64 deferred;		/* bios that went through the worker */
	u64 rounds;
	u64 autosaves;
	u64 autosave_failures;
};

/* Records that wait for the next commit. Worker; see dm-remap-v4-txn.c. */
struct dmr_txn {
	unsigned int nr, max;
	unsigned int merge_from;	/* earlier records belong to other bios */
	bool refused;			/* one is of parts of blocks: no commit */
	unsigned int nr_spoilt;
	sector_t spoilt[DMR_MAX_EXTRA];	/* by probes, and not recorded yet */
	bool own_error;			/* no place on the spare, or no memory for a record */
	struct dmr_record *rec;		/* first[], or larger if one bio needs it */
	struct dmr_record first[DMR_TXN_RECORDS];
};

enum dmr_device {		/* as core numbers the flushes */
	DMR_MAIN,
	DMR_SPARE,
	DMR_NR_DEVICES,
};

/* What is served together, and shares commits: bios, or requests. Worker. */
struct dmr_round {
	struct bio_list bios;
	int failed[DMR_NR_DEVICES];	/* flushes, before anything of it was written */

	struct list_head requests;	/* that move blocks */
	struct dmr_request *last;	/* any other, behind those; or NULL */
	unsigned long began;		/* jiffies */
	bool slow;			/* an I/O of theirs failed, or takes its time */
};

/* Of one device; see dm-remap-v4-flush.c. */
struct dmr_flushes {
	/*
	 * Applications' are its readers, from map to end_io. Counted by CPU, so
	 * they write no shared cache line.
	 */
	struct srcu_struct under_way;
	bool made;		/* under_way is */
	bool aside;		/* closed or lost. WRITE_ONCE under the target's lock */
	atomic_t failed;	/* anybody's, ever; applications' raise it before they end */

	/* Protected by the target's lock. */
	bool closed;		/* the worker flushes */
	bool lost;		/* a flush failed that nobody heard of, the next has to tell */
	struct bio_list waiting;	/* applications' flushes, while it is closed */
	struct bio_list waiting_fua;	/* and writes with a flush behind them */
};

/* The same, what only the worker has to do with. */
struct dmr_flush_marks {
	int data;		/* failed as of dmr_flush_mark(), for data */
	int blocks;		/* and for metadata: of its last flush, if that was later */
	bool data_safe;		/* the data was flushed since the last settling */
	bool shut;		/* the gate stays closed until dmr_flush_settle() */
	bool undecided;		/* since a block or a flush failed, till dmr_flush_blame(); */
	bool lost;		/* it was a flush; or nobody said what */
};

struct dmr_target {
	/* Constant after the constructor. */
	struct dm_target *ti;
	struct dm_dev *main;
	struct dm_dev *spare;
	sector_t main_sectors;
	sector_t spare_sectors;
	sector_t block;			/* logical block of the stack, sectors */
	u32 copies;			/* feature args; 0 is "as found" */
	u32 spacing;
	bool relocate_weak;
	bool read_only;			/* the table is */
	char name[DM_NAME_LEN];		/* set in preresume, under no I/O */
	char uuid[DM_UUID_LEN];

	/*
	 * Read by every bio: is there anything to look up? False only if the
	 * map is empty and current, and nothing is held. WRITE_ONCE by the worker.
	 */
	bool divert;
	bool uncertain;			/* the map is, so there are no writes; likewise */
	struct dmr_map map;		/* RCU, see there */
	struct dmr_hold hold;		/* RCU, see there */

	struct dmr_flushes flushes[DMR_NR_DEVICES];
	struct dmr_flush_marks marks[DMR_NR_DEVICES];
	/* Constant after the constructor. Neither: they are stacked, and who knows. */
	bool one_disk;		/* both devices are of it, and have one cache */
	bool two_disks;		/* as far as their drivers know */

	struct mutex live;		/* md does not come or go under it */
	bool suspended;			/* or about to be: requests end early. WRITE_ONCE */

	/* Worker. */
	struct dmr_metadata *md;	/* NULL while not live */
	struct dmr_unsure unsure;	/* of it, while it is NULL */
	struct dmr_space space;
	struct dmr_txn *txn;
	struct dmr_round *round;	/* that is being served */
	struct bio *bounce[2];		/* pages of their own, never submitted */
	bool soft_dirty;
	u8 wrote;			/* devices, as bits, since serving a bio began */
	bool in_doubt;			/* blocks are pending whose records may live */
	bool nearly_full_told;
	u64 full_told;			/* space.used when SPARE_FULL was told */
	unsigned int write_run;		/* blocks in a row that main refused ... */
	unsigned int write_probe_at;	/* ... and when to probe by writing */

	enum dmr_mode mode;		/* WRITE_ONCE by the worker */
	bool breaker;			/* WRITE_ONCE by the worker */
	struct dmr_counters count;

	spinlock_t lock;		/* protects what follows; irqsave */
	struct bio_list deferred;	/* to the worker, in order of arrival */
	struct list_head requests;	/* struct dmr_request, likewise */
	bool tell_fua;			/* WRITE_ONCE; see dmr_flush_tells_fua() */
	struct dmr_meta_status meta;	/* as of the last commit */
	struct dmr_event event[DMR_NR_ACTIONS];
	unsigned long next_events;	/* jiffies, not before */

	struct workqueue_struct *wq;	/* ordered */
	struct work_struct worker;
	struct delayed_work autosave;	/* on wq too */
	struct delayed_work event_work;	/* on the system's queue: not I/O */
	unsigned int uevent_seq;	/* event_work; core's is not exported */
	/* Constant; used through md only. Making one in preresume may wait for I/O. */
	struct dm_bufio_client *bufio;
	struct bio_set bs;		/* clones; the worker's progress needs it */

	struct kobject kobj;		/* in sysfs from resume to suspend */
	bool kobj_added;		/* preresume, postsuspend */
	struct completion kobj_released;
	struct list_head claimed;	/* the global list of spares in use */
};

/*
 * A bio's ticket: what it gives back when it ends. One byte, so that the healthy path
 * writes and compares it once; there it is the epoch that it was counted in, 0 or 1
 * (dm-remap-v4-hold.h). All others:
 *
 *				+ 4 * device + 2 * side	+ epoch
 *	DMR_TICKET_NONE			-	-	-	the worker has it, or it
 *								ends in map
 *	DMR_TICKET_NONE_FUA		-	-	-	likewise, and was REQ_FUA:
 *								core may forget that flag
 *	DMR_TICKET_FLUSH		x	x	-	a flush: of the device's
 *								under_way, by its side
 *	DMR_TICKET_FUA			x	x	x	a write with a flush
 *								behind it: both
 *	DMR_TICKET_FUA_ALONE		-	-	x	REQ_FUA without a flush
 */
#define DMR_TICKET_NONE		2
#define DMR_TICKET_NONE_FUA	3
#define DMR_TICKET_FLUSH	4
#define DMR_TICKET_FUA		12
#define DMR_TICKET_FUA_ALONE	20

static inline u8 dmr_ticket(u8 from, unsigned int dev, int side, unsigned int epoch)
{
	return from + 4 * dev + 2 * side + epoch;
}

static inline unsigned int dmr_ticket_dev(unsigned int ticket, u8 from)
{
	return (ticket - from) / 4;
}

static inline int dmr_ticket_side(unsigned int ticket)
{
	return ticket >> 1 & 1;
}

static inline unsigned int dmr_ticket_epoch(unsigned int ticket)
{
	return ticket & 1;
}

/* What the commit of a round means to a bio. */
enum dmr_fate {
	DMR_NO_RECORDS,
	DMR_WAITS,		/* it may succeed only if the commit does */
	DMR_AGAIN,		/* which failed, but need not if it is served again */
};

/* Per bio, in dm's per-bio data. */
struct dmr_bio {
	struct bvec_iter iter;	/* as mapped; bi_sector counts on main */
	u8 ticket;
	blk_status_t error;	/* what it failed with; 0 if merely deferred */
	u8 suspect : 2;		/* that may be a flush's of this device, + 1; or 0 */
	u8 served_once : 1;	/* worker: and is served again */
	u8 fate : 2;		/* worker: enum dmr_fate */
	u8 wrote : 2;		/* worker: the devices that it went to, as bits */
};

static inline struct dmr_bio *dmr_bio(struct bio *bio)
{
	return dm_per_bio_data(bio, sizeof(struct dmr_bio));
}

/* A run of data somewhere in memory, for reads and writes by parts. */
struct dmr_data {
	struct bio *bio;	/* owns the pages */
	struct bvec_iter iter;	/* where in them; bi_sector is not used */
	blk_opf_t flags;	/* REQ_META and the like, for writes; never REQ_FUA */
	bool failed;		/* all of it, as one request, just now */
	bool moved;		/* a block was bad, and is somewhere else now */
};

/* The worker's own buffer @i, 0 or 1, of DMR_BOUNCE_SECTORS. */
static inline struct dmr_data dmr_bounce(struct dmr_target *c, unsigned int i)
{
	return (struct dmr_data){
		.bio = c->bounce[i],
		.iter = c->bounce[i]->bi_iter,
	};
}

static inline void dmr_add(u64 *counter, u64 n)
{
	WRITE_ONCE(*counter, *counter + n);
}

/* dm-remap-v4-real-main.c */
enum dmr_route {
	DMR_TO_MAIN,
	DMR_TO_SPARE,
	DMR_LOST,		/* nobody can read it */
	DMR_IGNORE,		/* a discard, which is advice; see discard_main() */
	DMR_REFUSE,		/* a write, while nobody knows where it belongs */
	DMR_DEFER,		/* to the worker */
};

/*
 * Where does @bio go, whose bi_sector counts on main? Only the first part of
 * it that has one answer is taken if @may_split. Under rcu_read_lock_sched(),
 * which covers the lookup and the count (dm-remap-v4-hold.h).
 */
enum dmr_route dmr_route_bio(struct dmr_target *c, struct bio *bio, bool may_split);

/* Behind the lock: true if @bio is to be submitted, else it has ended, or defer it. */
bool dmr_follow_route(struct dmr_target *c, struct bio *bio, enum dmr_route route);
bool dmr_may_be_medium(enum req_op op, blk_status_t status);
bool dmr_whole_blocks(const struct dmr_target *c, sector_t sector, sector_t len);

/* dm-remap-v4-flush.c */
int dmr_flush_init(struct dmr_target *c);
void dmr_flush_exit(struct dmr_target *c);
int dmr_map_flush(struct dmr_target *c, struct bio *bio);
void dmr_flush_ended(struct dmr_target *c, unsigned int ticket, blk_status_t error);

/* A write is to fail for a flush of whose failure nobody heard. */
bool dmr_flush_tells_fua(struct dmr_target *c);

/*
 * @bio, a REQ_FUA write, has its device and is counted. False: it waits, and will be
 * submitted. Behind this its ticket is one of DMR_TICKET_FUA, which dmr_fua_ended() takes
 * back, and returns the device, or of DMR_TICKET_FUA_ALONE.
 */
bool dmr_map_fua(struct dmr_target *c, struct bio *bio);
enum dmr_device dmr_fua_ended(struct dmr_target *c, unsigned int ticket,
			      blk_status_t error);

/* Worker: what it writes to @dev from here on, its next flush is to make durable. */
void dmr_flush_mark(struct dmr_target *c, enum dmr_device dev);
int dmr_flush_main(struct dmr_target *c);

/*
 * For the metadata: flush the spare, after writing what is dirty if @write. Then, once
 * all of that was written again, copy by copy: was a @block bad, or was it the flush?
 */
int dmr_flush_spare(void *context, bool write);
void dmr_flush_blame(void *context, bool block);

/* Behind whatever was done to the metadata. Till then applications' flushes may wait. */
void dmr_flush_settle(struct dmr_target *c);

/* A flush of @dev failed and nobody heard of it: the next one is to tell. */
void dmr_flush_lost(struct dmr_target *c, enum dmr_device dev);

/* How many have failed ever? And flush what was written, whoever wrote it. */
int dmr_flushes_failed(struct dmr_target *c, enum dmr_device dev);
int dmr_flush_device(struct dmr_target *c, enum dmr_device dev);

/* dm-remap-v4-activate.c */
int dmr_activate(struct dmr_target *c);
void dmr_deactivate(struct dmr_target *c);

/* dm-remap-v4-recover.c */
void dmr_worker(struct work_struct *work);
void dmr_autosave(struct work_struct *work);
int dmr_save_soft(struct dmr_target *c);

/* Commit what was noted. Bios and requests that count on it fail if it does. */
int dmr_round_commit(struct dmr_target *c);

/* Blocks that fail may take a disk seconds each: is it the turn of others than requests? */
bool dmr_round_is_long(const struct dmr_target *c);

/* dm-remap-v4-narrow.c */
blk_status_t dmr_data_io(struct dmr_target *c, const struct dmr_data *data,
			 sector_t offset, sector_t len, enum req_op op,
			 struct block_device *bdev, sector_t at);
#define DMR_LOOK_SECTORS	1048576U	/* at a time: nothing preempts a lookup */
void dmr_lookup(struct dmr_target *c, sector_t sector, sector_t max,
		struct dmr_extent *ex);
blk_status_t dmr_read_run(struct dmr_target *c, const struct dmr_data *data,
			  sector_t offset, sector_t sector, sector_t len);
blk_status_t dmr_write_run(struct dmr_target *c, struct dmr_data *data,
			   sector_t sector, sector_t len);
blk_status_t dmr_write_to_spare(struct dmr_target *c, const struct dmr_data *data,
				sector_t offset, sector_t sector, sector_t len);

/* dm-remap-v4-txn.c */
struct dmr_txn *dmr_txn_create(void);
void dmr_txn_destroy(struct dmr_txn *txn);

/* Room for the few records that one step adds. -ENOMEM if there is none. */
int dmr_txn_room(struct dmr_target *c);

/* Behind dmr_txn_room(). Neighbours that map to neighbours become one record. */
void dmr_txn_add(struct dmr_target *c, enum dmr_record_kind kind, sector_t main,
		 sector_t spare, sector_t len);

/* Room for so many more, and memory to make them pending. Before they are spoilt. */
bool dmr_txn_room_for_spoilt(struct dmr_target *c, unsigned int nr);

/*
 * What main has in the block at @at is not what was written. Whatever becomes of
 * the records, it is not to be read from there: it is pending until a commit records
 * that, or that it lives elsewhere.
 */
void dmr_txn_spoilt(struct dmr_target *c, sector_t at);

/*
 * Forget the records from @from up to @to. Their places on the spare are free
 * again, bad ones stay taken until the next load.
 */
void dmr_txn_rollback(struct dmr_target *c, unsigned int from, unsigned int to);

/* Are there so many records that they should be committed between two bios? */
static inline bool dmr_txn_worth(const struct dmr_target *c)
{
	return c->txn->nr >= DMR_TXN_RECORDS / 2;
}

/* Does any of these lie there, and no record that is durable says so? */
bool dmr_txn_is_spoilt(const struct dmr_target *c, sector_t sector, sector_t len);

/*
 * Behind a load: what could not be recorded before, unless the log turned out to
 * say more. -ENOMEM: then they would be read from main.
 */
int dmr_txn_resume(struct dmr_target *c);

/*
 * Make the records durable, then visible. On failure nothing that is not
 * durable becomes visible and the places on the spare are given back; but what is
 * spoilt is pending either way, and no failure.
 */
int dmr_txn_commit(struct dmr_target *c);

/* The same, also without any records: the log's end and the cursor. */
int dmr_txn_sync(struct dmr_target *c);

/*
 * Have memory at hand for the next transaction. Done behind the answers to one: the
 * pages that reclaim could write out may be waiting for us. What has failed meanwhile
 * waits no longer than the allocator tries.
 */
void dmr_txn_refill(struct dmr_target *c);

/* The metadata's state as of the last commit. Any context. */
struct dmr_meta_status dmr_meta(struct dmr_target *c);

/*
 * Take note of it, and tell of what a commit or a repair did to the copies. What was found
 * may be certain by now, and be written to.
 */
void dmr_metadata_loaded(struct dmr_target *c);
void dmr_metadata_changed(struct dmr_target *c);

/* Once, until something is freed: no place is left. */
void dmr_tell_full(struct dmr_target *c);

/* No majority of copies can be written: remaps are served, none is added. */
void dmr_metadata_lost(struct dmr_target *c);

/* dm-remap-v4-breaker.c */
void dmr_breaker_reset(struct dmr_target *c);

/* A block of main was written well by the worker. */
void dmr_breaker_written(struct dmr_target *c);

/* Block @failed did, twice. False: it is the device, nothing more is to be remapped. */
bool dmr_breaker_believes(struct dmr_target *c, enum req_op op, sector_t failed);

/* Can the spare be read anywhere? Asked before a block on it is given up. */
bool dmr_spare_answers(struct dmr_target *c);

/*
 * The same question before failed writes are answered for by the spare; may
 * hold further sectors and note remaps of what it probed.
 */
bool dmr_breaker_believes_writes(struct dmr_target *c);

/* dm-remap-v4-relocate.c */
enum dmr_request_op {
	DMR_REQ_REMAP,
	DMR_REQ_TEST_REMAP,
	DMR_REQ_PENDING,
	DMR_REQ_UNMAP,
	DMR_REQ_SYNC,
	DMR_REQ_RESTORE,
	DMR_REQ_REPAIR,
	DMR_REQ_REARM,
	DMR_REQ_CLEAR_STATS,
	DMR_REQ_SCRUB,
};

/* Something the worker is asked to do; the asker waits. */
struct dmr_request {
	struct list_head list;
	enum dmr_request_op op;
	sector_t sector;
	sector_t len;
	sector_t spare;
	bool anyway;		/* repair: also with metadata that may be old */
	bool stop;		/* WRITE_ONCE by the asker: it does not want the rest */
	bool queued;		/* it is in the target's list; under the target's lock */

	/* Worker. */
	sector_t next;		/* where it goes on, in the next round if need be */
	sector_t by_blocks;	/* up to here it reads single blocks */
	sector_t before;	/* sectors that were on the spare, in this round */
	bool in_txn;		/* it may succeed only if the commit does */

	sector_t moved;		/* answer: sectors that changed place */
	sector_t pending;	/* answer: sectors that could not be read */
	int result;
	const char *why;	/* answer: a sentence, if result is negative */
	struct completion done;
};

bool dmr_same_data(struct dmr_target *c, sector_t len);
/* Ask for @nr things at once; each gets its answer. */
void dmr_ask(struct dmr_target *c, struct dmr_request *req, unsigned int nr);
bool dmr_moves_blocks(const struct dmr_request *req);

/* In a round, with its sectors held: note the records, or some of them, ... */
void dmr_serve_request(struct dmr_target *c, struct dmr_request *req);
/* ... in case the commit fails, ... */
void dmr_request_failed(struct dmr_request *req, int error);
/* ... and behind it. */
void dmr_count_moved(struct dmr_target *c, struct dmr_request *req);
/* Is there more of it to be done? And does nobody want that any more? Then it is refused. */
bool dmr_request_goes_on(const struct dmr_request *req);
bool dmr_request_stopped(struct dmr_request *req);

/* Any other request, by itself. */
void dmr_run_request(struct dmr_target *c, struct dmr_request *req);

/* dm-remap-v4-message.c */
int dmr_message(struct dm_target *ti, unsigned int argc, char **argv,
		char *result, unsigned int maxlen);
unsigned int dmr_emit_status(struct dmr_target *c, char *result,
			     unsigned int maxlen);

/* dm-remap-v4-event.c */
void dmr_event(struct dmr_target *c, enum dmr_action action, sector_t sector,
	       sector_t sectors);
void dmr_event_work(struct work_struct *work);
void dmr_set_mode(struct dmr_target *c, enum dmr_mode mode, const char *why);

/* dm-remap-v4-sysfs.c */
int dmr_sysfs_init(void);
void dmr_sysfs_exit(void);
void dmr_sysfs_add(struct dmr_target *c);
void dmr_sysfs_remove(struct dmr_target *c);

extern bool dmr_autosave_enabled;
extern unsigned int dmr_autosave_interval;

#endif
