// SPDX-License-Identifier: GPL-2.0-only
/*
 * Telling the world. Events are noted by the worker and sent by a work item on
 * the system's queue, so that no I/O waits for udev. Neighbours are joined: a
 * change uevent makes udev look at the device again, so there should be few.
 */
#include <linux/blkdev.h>
#include <linux/kobject.h>

#include "dm-remap-v4.h"

#define DM_MSG_PREFIX "remap-v4"

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
	struct dmr_event *last;
	unsigned long flags;

	spin_lock_irqsave(&c->lock, flags);
	last = c->nr_events ? &c->event[c->nr_events - 1] : NULL;
	if (last && last->action == action && sectors &&
	    last->sector + last->sectors == sector)
		last->sectors += sectors;
	else if (c->nr_events < DMR_MAX_EVENTS)
		c->event[c->nr_events++] = (struct dmr_event){
			.action = action,
			.sector = sector,
			.sectors = sectors,
		};
	else
		dmr_add(&c->count.events_dropped, 1);
	spin_unlock_irqrestore(&c->lock, flags);
	schedule_work(&c->event_work);
}

static void send_uevent(struct dmr_target *c, const struct dmr_event *ev)
{
	struct mapped_device *md = dm_table_get_md(c->ti->table);
	char text[5][DM_UUID_LEN + 16];
	char action[48];
	char *envp[] = {
		"DM_TARGET=dm-remap-v4", action, text[0], text[1], text[2],
		text[3], text[4], NULL,
	};

	snprintf(action, sizeof(action), "DM_ACTION=%s", action_name[ev->action]);
	snprintf(text[0], sizeof(text[0]), "DM_NAME=%s", c->name);
	snprintf(text[1], sizeof(text[1]), "DM_UUID=%s", c->uuid);
	snprintf(text[2], sizeof(text[2]), "DM_SEQNUM=%u", ++c->uevent_seq);
	snprintf(text[3], sizeof(text[3]), "DM_SECTOR=%llu",
		 (unsigned long long)ev->sector);
	snprintf(text[4], sizeof(text[4]), "DM_SECTORS=%llu",
		 (unsigned long long)ev->sectors);
	kobject_uevent_env(&disk_to_dev(dm_disk(md))->kobj, KOBJ_CHANGE, envp);
}

void dmr_event_work(struct work_struct *work)
{
	struct dmr_target *c = container_of(work, struct dmr_target, event_work);
	struct dmr_event ev;
	bool more;

	for (;;) {
		spin_lock_irq(&c->lock);
		more = c->nr_events;
		if (more) {
			ev = c->event[0];
			c->nr_events--;
			memmove(c->event, c->event + 1,
				c->nr_events * sizeof(c->event[0]));
		}
		spin_unlock_irq(&c->lock);
		if (!more)
			break;
		send_uevent(c, &ev);
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
	DMERR("%s: now in mode %s: %s", c->name, name[mode], why);
	dmr_event(c, DMR_EV_MODE, 0, 0);
}
