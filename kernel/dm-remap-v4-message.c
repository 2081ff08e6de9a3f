// SPDX-License-Identifier: GPL-2.0-only
/*
 * Status and messages: everything a person can ask the target.
 */
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>

#include "dm-remap-v4.h"

#define DM_MSG_PREFIX "remap-v4"

/*
 * Status:
 *
 * <used>/<total spare sectors> <remapped extents> <pending extents>
 * <valid copies>/<copies> <sequence> <read errors> <write errors>
 * <sectors salvaged> <sectors lost> <#feature args> <feature args>*
 * <#error words> <error words>* <mode> <check>
 *
 * Feature args: as in the table line.
 * Error words:  degraded (a copy is damaged), spare_full, breaker, metadata
 *               (no majority of copies can be written).
 * mode:         rw, ro or Fail.
 * check:        needs_check or -.
 */
unsigned int dmr_emit_status(struct dmr_target *c, char *result,
			     unsigned int maxlen)
{
	static const char *const mode_name[] = { "rw", "ro", "Fail" };
	enum dmr_mode mode = READ_ONCE(c->mode);
	u64 used = READ_ONCE(c->space.used), total = READ_ONCE(c->space.total);
	struct dmr_meta_status meta = dmr_meta(c);
	unsigned int sz = 0;
	bool degraded, full, metadata, breaker = READ_ONCE(c->breaker);

	degraded = meta.valid < meta.copies;
	full = total && total - used < c->block;
	metadata = meta.copies && meta.valid < meta.copies / 2 + 1;

	DMEMIT("%llu/%llu %llu %llu %u/%u %llu %llu %llu %llu %llu",
	       used, total, READ_ONCE(c->map.nr_remap),
	       READ_ONCE(c->map.nr_pending), meta.valid, meta.copies,
	       meta.sequence, READ_ONCE(c->count.read_errors),
	       READ_ONCE(c->count.write_errors), READ_ONCE(c->count.salvaged),
	       READ_ONCE(c->count.lost));
	DMEMIT(" %u", (c->copies ? 2 : 0) + (c->spacing ? 2 : 0) + c->relocate_weak);
	if (c->copies)
		DMEMIT(" copies %u", c->copies);
	if (c->spacing)
		DMEMIT(" spacing %u", c->spacing);
	if (c->relocate_weak)
		DMEMIT(" relocate_weak");
	DMEMIT(" %u%s%s%s%s", degraded + full + breaker + metadata,
	       degraded ? " degraded" : "", full ? " spare_full" : "",
	       breaker ? " breaker" : "", metadata ? " metadata" : "");
	DMEMIT(" %s %s", mode_name[mode], meta.needs_check ? "needs_check" : "-");
	return sz;
}

struct message_context {
	struct dmr_target *c;
	unsigned int argc;
	char **argv;
	char *result;
	unsigned int maxlen;
};

static int refuse(struct message_context *m, const char *why)
{
	DMERR("%s: message %s refused: %s", m->c->name, m->argv[0], why);
	return -EINVAL;
}

static int parse_sector(struct message_context *m, const char *word,
			sector_t limit, sector_t *sector)
{
	u64 value;

	if (kstrtou64(word, 10, &value))
		return refuse(m, "a sector is a decimal number of 512-byte units");
	if (value & (m->c->block - 1))
		return refuse(m, "a sector must be a multiple of the logical block size");
	/* The last block of a device may be a part of one, which nobody can use. */
	if (value >= limit || limit - value < m->c->block)
		return refuse(m, "the sector is behind the end of the device");
	*sector = value;
	return 0;
}

/* <sector> [<count>] from word @i on, on main */
static int parse_range(struct message_context *m, unsigned int i,
		       sector_t *sector, sector_t *len)
{
	u64 value;

	/* What lies behind the target may be others', and isn't held. */
	if (parse_sector(m, m->argv[i], m->c->ti->len, sector))
		return -EINVAL;
	*len = m->c->block;
	if (i + 1 < m->argc) {
		if (kstrtou64(m->argv[i + 1], 10, &value) || !value)
			return refuse(m, "the count is a number of sectors, at least 1");
		if (value & (m->c->block - 1))
			return refuse(m, "the count must be a multiple of the logical block size");
		if (value > m->c->ti->len - *sector)
			return refuse(m, "the range ends behind the end of the device");
		*len = value;
	}
	return 0;
}

static int check_ranges(struct message_context *m)
{
	sector_t sector, len;
	unsigned int i;
	int r = 0;

	if (m->argc != 2 && (m->argc < 3 || !(m->argc & 1)))
		return refuse(m, "usage: <sector> [<count> [<sector> <count>]...]");
	for (i = 1; i < m->argc && !r; i += 2)
		r = parse_range(m, i, &sector, &len);
	return r;
}

static int answer(struct dmr_target *c, struct dmr_request *req)
{
	if (req->result)
		DMERR("%s: %s", c->name, req->why ?: "the request failed");
	return req->result;
}

static int simple_request(struct message_context *m, enum dmr_request_op op,
			  struct dmr_request *req)
{
	if (m->argc != 1)
		return refuse(m, "it takes no argument");
	*req = (struct dmr_request){ .op = op };
	dmr_ask(m->c, req, 1);
	return answer(m->c, req);
}

/* How many sectors from @sector on have nothing to be unmapped? */
static sector_t linear_part(struct dmr_target *c, sector_t sector, sector_t len)
{
	struct dmr_extent ex;

	/* Against a suspend, which empties the map without a grace period. */
	if (mutex_lock_killable(&c->live))
		return 0;
	dmr_lookup(c, sector, min_t(sector_t, len, DMR_LOOK_SECTORS), &ex);
	mutex_unlock(&c->live);
	return ex.kind == DMR_LINEAR ? ex.len : 0;
}

/* Requests that are made together, so that they share commits. */
struct batch {
	struct dmr_target *c;
	sector_t limit;		/* failed bios need not wait for more than that */
	sector_t sectors;
	sector_t moved;
	sector_t pending;
	unsigned int nr, max;
	struct dmr_request req[];
};

static int ask_batch(struct batch *b)
{
	unsigned int i;
	int r = 0;

	dmr_ask(b->c, b->req, b->nr);
	for (i = 0; i < b->nr; i++) {
		r = r ?: answer(b->c, &b->req[i]);
		b->moved += b->req[i].moved;
		b->pending += b->req[i].pending;
	}
	b->nr = 0;
	b->sectors = 0;
	return r;
}

static int move_range(struct batch *b, enum dmr_request_op op, sector_t sector,
		      sector_t len)
{
	sector_t n, skip;
	int r;

	for (; len; sector += n, len -= n) {
		n = min_t(sector_t, len, DMR_REQUEST_SECTORS);
		/* The last piece is asked for in any case: may it be done at all? */
		skip = op == DMR_REQ_UNMAP && len > n ?
		       linear_part(b->c, sector, len - n) : 0;
		if (skip) {
			n = skip;
			continue;
		}
		if (b->nr == b->max || (b->nr && b->sectors + n > b->limit)) {
			r = ask_batch(b);
			if (r)
				return r;
		}
		/* The device can't be suspended before a message has ended. */
		if (fatal_signal_pending(current))
			return -EINTR;
		b->req[b->nr++] = (struct dmr_request){
			.op = op,
			.sector = sector,
			.len = n,
		};
		b->sectors += n;
	}
	return 0;
}

static int move(struct message_context *m, enum dmr_request_op op)
{
	char *result = m->result;
	unsigned int maxlen = m->maxlen, sz = 0, max, i;
	sector_t sector, len;
	struct batch *b;
	int r = check_ranges(m);

	if (r)
		return r;
	max = m->argc > 3 ? DMR_MAX_HELD : 1;
	b = kvzalloc(struct_size(b, req, max), GFP_NOIO);
	if (!b)
		return -ENOMEM;
	b->c = m->c;
	b->max = max;
	/* Nothing is read or written for those that are only declared lost. */
	b->limit = op == DMR_REQ_PENDING ? 64 * DMR_REQUEST_SECTORS : DMR_REQUEST_SECTORS;
	for (i = 1; i < m->argc && !r; i += 2) {
		r = parse_range(m, i, &sector, &len);
		if (!r)
			r = move_range(b, op, sector, len);
	}
	if (!r && b->nr)
		r = ask_batch(b);
	if (!r) {
		r = 1;
		if (op == DMR_REQ_PENDING)
			DMEMIT("%llu sectors are pending", (u64)b->pending);
		else
			DMEMIT("%s %llu sectors", op == DMR_REQ_REMAP ?
			       "Remapped" : "Unmapped", (u64)b->moved);
		if (op != DMR_REQ_PENDING && b->pending)
			DMEMIT(", %llu unreadable and pending", (u64)b->pending);
	}
	kvfree(b);
	return r;
}

static int msg_remap(struct message_context *m)
{
	return move(m, DMR_REQ_REMAP);
}

static int msg_pending(struct message_context *m)
{
	return move(m, DMR_REQ_PENDING);
}

static int msg_unmap(struct message_context *m)
{
	return move(m, DMR_REQ_UNMAP);
}

static int msg_test_remap(struct message_context *m)
{
	struct dmr_request req = { .op = DMR_REQ_TEST_REMAP };
	struct dmr_target *c = m->c;
	char *result = m->result;
	unsigned int maxlen = m->maxlen, sz = 0;

	if (m->argc != 3)
		return refuse(m, "usage: test_remap <bad sector> <spare sector>");
	if (parse_sector(m, m->argv[1], c->ti->len, &req.sector) ||
	    parse_sector(m, m->argv[2], c->spare_sectors, &req.spare))
		return -EINVAL;
	req.len = c->block;
	dmr_ask(c, &req, 1);
	if (answer(c, &req))
		return req.result;
	DMEMIT("Created test remap: bad_sector=%llu spare_sector=%llu",
	       (unsigned long long)req.sector, (unsigned long long)req.spare);
	if (req.pending)
		DMEMIT(" pending: the block can't be read, its place is chosen when it is written");
	return 1;
}

/*
 * Against a suspend, which empties the map without a grace period. And who asks
 * while it is empty would take that for a disk without a bad block.
 */
static int lock_live(struct message_context *m)
{
	if (mutex_lock_killable(&m->c->live))
		return -EINTR;
	if (m->c->md)
		return 0;
	mutex_unlock(&m->c->live);
	refuse(m, "the device is suspended, resume it first");
	return -EBUSY;
}

static int msg_list(struct message_context *m)
{
	struct dmr_target *c = m->c;
	char *result = m->result;
	unsigned int maxlen = m->maxlen, sz = 0;
	/* What is left behind it is a part of a block, which is never moved. */
	sector_t sector = 0, end = round_down(c->main_sectors, c->block);
	unsigned int max = 100, nr = 0;
	struct dmr_extent ex;
	int r;

	if (m->argc > 3)
		return refuse(m, "usage: list [<from> [<max>]]");
	if (m->argc > 1 && parse_sector(m, m->argv[1], c->main_sectors, &sector))
		return -EINVAL;
	if (m->argc > 2 && (kstrtouint(m->argv[2], 10, &max) || !max))
		return refuse(m, "the maximum is a number of extents, at least 1");

	r = lock_live(m);
	if (r)
		return r;
	for (; sector < end && nr < max; sector += ex.len) {
		dmr_lookup(c, sector, min_t(sector_t, end - sector, DMR_LOOK_SECTORS), &ex);
		if (ex.kind == DMR_LINEAR)
			continue;
		nr++;
		if (ex.kind == DMR_REMAP)
			DMEMIT("%llu %llu %llu remap\n", (unsigned long long)sector,
			       (unsigned long long)ex.len, (unsigned long long)ex.spare);
		else
			DMEMIT("%llu %llu - pending\n", (unsigned long long)sector,
			       (unsigned long long)ex.len);
		if (sz + 1 >= maxlen)
			break;
	}
	mutex_unlock(&c->live);
	if (sector < end && nr == max)
		DMEMIT("next %llu\n", (unsigned long long)sector);
	else if (!nr)
		DMEMIT("none\n");
	return 1;
}

static int msg_sync(struct message_context *m)
{
	struct dmr_request req;
	char *result = m->result;
	unsigned int maxlen = m->maxlen, sz = 0;
	int r = simple_request(m, DMR_REQ_SYNC, &req);

	if (!r)
		DMEMIT("Saved, sequence %llu", dmr_meta(m->c).sequence);
	return r ?: 1;
}

static int msg_restore(struct message_context *m)
{
	struct dmr_request req;
	char *result = m->result;
	unsigned int maxlen = m->maxlen, sz = 0;
	int r = simple_request(m, DMR_REQ_RESTORE, &req);

	if (!r)
		DMEMIT("%llu of %u copies are good, sequence %llu",
		       (unsigned long long)req.moved, dmr_meta(m->c).copies,
		       dmr_meta(m->c).sequence);
	return r ?: 1;
}

static int msg_repair(struct message_context *m)
{
	struct dmr_request req = { .op = DMR_REQ_REPAIR, .anyway = m->argc > 1 };
	char *result = m->result;
	unsigned int maxlen = m->maxlen, sz = 0;
	int r;

	if (m->argc > 2 || (m->argc == 2 && strcasecmp(m->argv[1], "anyway")))
		return refuse(m, "usage: repair [anyway]");
	dmr_ask(m->c, &req, 1);
	r = answer(m->c, &req);
	if (!r)
		DMEMIT("Repaired %llu copies", (unsigned long long)req.moved);
	return r ?: 1;
}

static int msg_rearm(struct message_context *m)
{
	struct dmr_request req;
	char *result = m->result;
	unsigned int maxlen = m->maxlen, sz = 0;
	int r = simple_request(m, DMR_REQ_REARM, &req);

	if (!r)
		DMEMIT("Armed");
	return r ?: 1;
}

static int msg_clear_stats(struct message_context *m)
{
	struct dmr_request req;
	char *result = m->result;
	unsigned int maxlen = m->maxlen, sz = 0;
	int r = simple_request(m, DMR_REQ_CLEAR_STATS, &req);

	if (!r)
		DMEMIT("Cleared");
	return r ?: 1;
}

/* Where a scrub from user space goes on. */
static int msg_scrub(struct message_context *m)
{
	struct dmr_request req = { .op = DMR_REQ_SCRUB };
	struct dmr_target *c = m->c;
	char *result = m->result;
	unsigned int maxlen = m->maxlen, sz = 0;

	if (m->argc > 2)
		return refuse(m, "usage: scrub [<sector>]");
	if (m->argc == 2) {
		if (parse_sector(m, m->argv[1], c->main_sectors, &req.sector))
			return -EINVAL;
		dmr_ask(c, &req, 1);
		if (answer(c, &req))
			return req.result;
	}
	DMEMIT("%llu", READ_ONCE(c->count.scrub));
	return 1;
}

static int msg_status(struct message_context *m)
{
	dmr_emit_status(m->c, m->result, m->maxlen);
	return 1;
}

static int msg_stats(struct message_context *m)
{
	const struct dmr_counters *n = &m->c->count;
	char *result = m->result;
	unsigned int maxlen = m->maxlen, sz = 0;

	DMEMIT("read_errors %llu\nwrite_errors %llu\nsalvaged %llu\nlost %llu\n",
	       READ_ONCE(n->read_errors), READ_ONCE(n->write_errors),
	       READ_ONCE(n->salvaged), READ_ONCE(n->lost));
	DMEMIT("deferred %llu\nrounds %llu\nautosaves %llu\nautosave_failures %llu\n",
	       READ_ONCE(n->deferred), READ_ONCE(n->rounds),
	       READ_ONCE(n->autosaves), READ_ONCE(n->autosave_failures));
	return 1;
}

static int msg_cache_stats(struct message_context *m)
{
	struct dmr_target *c = m->c;
	struct dmr_meta_status meta = dmr_meta(c);
	char *result = m->result;
	unsigned int maxlen = m->maxlen, sz = 0;

	DMEMIT("commits %llu\nmetadata_writes %llu\nflushes %llu\n",
	       meta.commits, meta.block_writes, meta.flushes);
	DMEMIT("generation %llu\nlog_blocks %u\n", meta.generation, meta.log_blocks);
	return 1;
}

static int msg_health(struct message_context *m)
{
	struct dmr_target *c = m->c;
	char *result = m->result;
	unsigned int maxlen = m->maxlen, sz = 0;
	struct dmr_meta_status meta;
	u64 pending;
	int r;

	if (READ_ONCE(c->mode) == DMR_FAIL) {
		DMEMIT("failing: the metadata was refused");
		return 1;
	}
	r = lock_live(m);
	if (r)
		return r;
	pending = READ_ONCE(c->map.pending_sectors);
	meta = dmr_meta(c);
	if (READ_ONCE(c->breaker))
		DMEMIT("failing: the main device fails everywhere");
	else if (READ_ONCE(c->uncertain))
		DMEMIT("failing: all writes are refused until the metadata can be made durable");
	/* Of a read-only table nothing else is expected. */
	else if (READ_ONCE(c->mode) != DMR_RW && !c->read_only)
		DMEMIT("failing: new errors can't be remapped");
	else if (pending)
		DMEMIT("damaged: %llu sectors can't be read until they are written",
		       pending);
	else if (meta.valid < meta.copies)
		DMEMIT("degraded: %u of %u copies of the metadata are good",
		       meta.valid, meta.copies);
	else if (READ_ONCE(c->map.nr_remap))
		DMEMIT("remapped: %llu sectors live on the spare",
		       READ_ONCE(c->map.remap_sectors));
	else
		DMEMIT("good");
	mutex_unlock(&c->live);
	return 1;
}

static int msg_help(struct message_context *m);

static const struct {
	const char *name;
	int (*run)(struct message_context *m);
	const char *usage;
} messages[] = {
	{ "help", msg_help, "" },
	{ "status", msg_status, "" },
	{ "stats", msg_stats, "" },
	{ "clear_stats", msg_clear_stats, "" },
	{ "health", msg_health, "" },
	{ "cache_stats", msg_cache_stats, "" },
	{ "remap", msg_remap, " <sector> [<count> [<sector> <count>]...]" },
	{ "test_remap", msg_test_remap, " <bad> <spare>" },
	{ "pending", msg_pending, " <sector> [<count> [<sector> <count>]...]" },
	{ "unmap", msg_unmap, " <sector> [<count> [<sector> <count>]...]" },
	{ "list", msg_list, " [<from> [<max>]]" },
	{ "scrub", msg_scrub, " [<sector>]" },
	{ "sync", msg_sync, "" },
	{ "save", msg_sync, "" },
	{ "restore", msg_restore, "" },
	{ "repair", msg_repair, " [anyway]" },
	{ "rearm", msg_rearm, "" },
};

static int msg_help(struct message_context *m)
{
	char *result = m->result;
	unsigned int maxlen = m->maxlen, sz = 0, i;

	for (i = 0; i < ARRAY_SIZE(messages); i++)
		DMEMIT("%s%s\n", messages[i].name, messages[i].usage);
	return 1;
}

int dmr_message(struct dm_target *ti, unsigned int argc, char **argv,
		char *result, unsigned int maxlen)
{
	struct message_context m = {
		.c = ti->private,
		.argc = argc,
		.argv = argv,
		.result = result,
		.maxlen = maxlen,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(messages); i++)
		if (!strcasecmp(argv[0], messages[i].name))
			return messages[i].run(&m);
	return refuse(&m, "unknown message, help lists them");
}
