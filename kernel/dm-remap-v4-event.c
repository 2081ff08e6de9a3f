// SPDX-License-Identifier: GPL-2.0-only
/*
 * Telling the world. Events are noted by the worker and sent by a work item on
 * the system's queue, so that no I/O waits for udev. A change uevent makes udev
 * look at the device again, so there should be few: what happens within
 * EVENT_INTERVAL is told by one uevent for each kind, and by one line in the log.
 */
#include <linux/blkdev.h>
#include <linux/jiffies.h>
#include <linux/kobject.h>
#include <linux/slab.h>

#include "dm-remap-v4.h"

#define DM_MSG_PREFIX "remap-v4"

#define EVENT_INTERVAL	(HZ / 2)

static const char *const action_name[DMR_NR_ACTIONS] = {
	[DMR_EV_REMAP] = "REMAP",
	[DMR_EV_PENDING] = "PENDING",
	[DMR_EV_UNMAP] = "UNMAP",
	[DMR_EV_COPY_LOST] = "COPY_LOST",
	[DMR_EV_COPY_MENDED] = "COPY_MENDED",
	[DMR_EV_SPARE_NEARLY_FULL] = "SPARE_NEARLY_FULL",
	[DMR_EV_SPARE_FULL] = "SPARE_FULL",
	[DMR_EV_MODE] = "MODE",
	[DMR_EV_BREAKER] = "BREAKER",
};

void dmr_event(struct dmr_target *c, enum dmr_action action, sector_t sector,
	       sector_t sectors)
{
	struct dmr_event *ev = &c->event[action];
	unsigned long flags, now = jiffies, wait = 0;

	spin_lock_irqsave(&c->lock, flags);
	if (!ev->extents || ev->end != sector)
		ev->extents++;
	if (!ev->sectors || sector < ev->sector)
		ev->sector = sector;
	ev->sectors += sectors;
	ev->end = sector + sectors;
	/* Where jiffies have 32 bits, what is long past may look like far ahead. */
	if (time_before(now, c->next_events))
		wait = min_t(unsigned long, c->next_events - now, EVENT_INTERVAL);
	spin_unlock_irqrestore(&c->lock, flags);
	/* Nothing happens if it is queued already. */
	schedule_delayed_work(&c->event_work, wait);
}

/*
 * Of the others the log has a sentence already, where they were noted. No errors: those
 * say why something was refused, and who was refused may look for them.
 */
static void log_event(struct dmr_target *c, enum dmr_action what,
		      const struct dmr_event *ev)
{
	unsigned long long from = ev->sector, sectors = ev->sectors;

	switch (what) {
	case DMR_EV_PENDING:
		DMWARN("%s: lost: %llu sectors, %u extents, from sector %llu on; reading them fails until they are written",
		      c->name, sectors, ev->extents, from);
		break;
	case DMR_EV_REMAP:
		DMWARN("%s: moved to the spare: %llu sectors, %u extents, from sector %llu on",
		       c->name, sectors, ev->extents, from);
		break;
	case DMR_EV_UNMAP:
		DMINFO("%s: back on the main device: %llu sectors, %u extents, from sector %llu on",
		       c->name, sectors, ev->extents, from);
		break;
	case DMR_EV_SPARE_NEARLY_FULL:
		DMWARN("%s: the spare is nearly full, %llu sectors are left", c->name, sectors);
		break;
	default:
		break;
	}
}

static void send_uevent(struct dmr_target *c, enum dmr_action what,
			const struct dmr_event *ev)
{
	struct mapped_device *md = dm_table_get_md(c->ti->table);
	char name[DM_NAME_LEN], uuid[DM_UUID_LEN];
	struct kobj_uevent_env *env;

	/* It may have been renamed since it was resumed; or be removed, and nobody listens. */
	if (dm_copy_name_and_uuid(md, name, uuid)) {
		if (ev->sectors)
			DMWARN("%s: removed before this was told: %s of %llu sectors, from %llu on",
			       c->name, action_name[what], (unsigned long long)ev->sectors,
			       (unsigned long long)ev->sector);
		else
			DMWARN("%s: removed before this was told: %s", c->name,
			       action_name[what]);
		return;
	}
	/* A lost one is seen by its number. */
	c->uevent_seq++;
	env = kzalloc(sizeof(*env), GFP_KERNEL);
	if (!env)
		return;
	/* There is room for all of it. */
	add_uevent_var(env, "DM_TARGET=%s", c->ti->type->name);
	add_uevent_var(env, "DM_ACTION=%s", action_name[what]);
	add_uevent_var(env, "DM_NAME=%s", name);
	add_uevent_var(env, "DM_UUID=%s", uuid);
	add_uevent_var(env, "DM_SEQNUM=%u", c->uevent_seq);
	add_uevent_var(env, "DM_SECTOR=%llu", (unsigned long long)ev->sector);
	add_uevent_var(env, "DM_SECTORS=%llu", (unsigned long long)ev->sectors);
	add_uevent_var(env, "DM_EXTENTS=%u", ev->extents);
	kobject_uevent_env(&disk_to_dev(dm_disk(md))->kobj, KOBJ_CHANGE, env->envp);
	kfree(env);
}

void dmr_event_work(struct work_struct *work)
{
	struct dmr_target *c = container_of(to_delayed_work(work),
					    struct dmr_target, event_work);
	struct dmr_event ev[DMR_NR_ACTIONS];
	unsigned int i;

	spin_lock_irq(&c->lock);
	memcpy(ev, c->event, sizeof(ev));
	memset(c->event, 0, sizeof(c->event));
	c->next_events = jiffies + EVENT_INTERVAL;
	spin_unlock_irq(&c->lock);

	for (i = 0; i < DMR_NR_ACTIONS; i++) {
		if (!ev[i].extents)
			continue;
		log_event(c, i, &ev[i]);
		send_uevent(c, i, &ev[i]);
	}
	dm_table_event(c->ti->table);
}

/* The one place where the mode changes while the device is live. */
void dmr_set_mode(struct dmr_target *c, enum dmr_mode mode, const char *why)
{
	static const char *const name[] = { "rw", "ro", "Fail" };

	if (c->mode == mode)
		return;
	WRITE_ONCE(c->mode, mode);
	if (mode == DMR_RW)
		DMINFO("%s: now in mode %s: %s", c->name, name[mode], why);
	else
		DMERR("%s: now in mode %s: %s", c->name, name[mode], why);
	dmr_event(c, DMR_EV_MODE, 0, 0);
}
