// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counters under /sys/kernel/dm_remap/<dm name>/, one value a file. The folder
 * is there from resume to suspend.
 */
#include <linux/kobject.h>
#include <linux/math64.h>
#include <linux/sysfs.h>

#include "dm-remap-v4.h"

#define DM_MSG_PREFIX "remap-v4"

static struct kobject *dmr_root;

struct dmr_attribute {
	struct attribute attr;
	u64 (*get)(struct dmr_target *c);
};

static u64 meta_value(struct dmr_target *c, size_t offset)
{
	unsigned long flags;
	u64 value;

	spin_lock_irqsave(&c->lock, flags);
	value = *(u64 *)((u8 *)&c->meta + offset);
	spin_unlock_irqrestore(&c->lock, flags);
	return value;
}

#define DMR_ATTR(_name, _expr)						\
	static u64 get_##_name(struct dmr_target *c) { return _expr; }	\
	static const struct dmr_attribute attr_##_name = {		\
		.attr = { .name = #_name, .mode = 0444 },		\
		.get = get_##_name,					\
	}

DMR_ATTR(active_mappings, div64_u64(READ_ONCE(c->map.remap_sectors), c->block));
DMR_ATTR(remapped_extents, READ_ONCE(c->map.nr_remap));
DMR_ATTR(pending_sectors, READ_ONCE(c->map.pending_sectors));
DMR_ATTR(spare_sectors_used, READ_ONCE(c->space.used));
DMR_ATTR(spare_sectors_total, READ_ONCE(c->space.total));
DMR_ATTR(read_errors, READ_ONCE(c->count.read_errors));
DMR_ATTR(write_errors, READ_ONCE(c->count.write_errors));
DMR_ATTR(sectors_salvaged, READ_ONCE(c->count.salvaged));
DMR_ATTR(sectors_lost, READ_ONCE(c->count.lost));
DMR_ATTR(autosaves, READ_ONCE(c->count.autosaves));
DMR_ATTR(autosave_failures, READ_ONCE(c->count.autosave_failures));
DMR_ATTR(sequence, meta_value(c, offsetof(struct dmr_meta_status, sequence)));
DMR_ATTR(commits, meta_value(c, offsetof(struct dmr_meta_status, commits)));
DMR_ATTR(metadata_writes, meta_value(c, offsetof(struct dmr_meta_status, block_writes)));
DMR_ATTR(metadata_flushes, meta_value(c, offsetof(struct dmr_meta_status, flushes)));

static const struct attribute *const dmr_attrs[] = {
	&attr_active_mappings.attr,
	&attr_remapped_extents.attr,
	&attr_pending_sectors.attr,
	&attr_spare_sectors_used.attr,
	&attr_spare_sectors_total.attr,
	&attr_read_errors.attr,
	&attr_write_errors.attr,
	&attr_sectors_salvaged.attr,
	&attr_sectors_lost.attr,
	&attr_autosaves.attr,
	&attr_autosave_failures.attr,
	&attr_sequence.attr,
	&attr_commits.attr,
	&attr_metadata_writes.attr,
	&attr_metadata_flushes.attr,
	NULL,
};

static ssize_t show(struct kobject *kobj, struct attribute *attr, char *buf)
{
	struct dmr_target *c = container_of(kobj, struct dmr_target, kobj);
	struct dmr_attribute *a = container_of(attr, struct dmr_attribute, attr);

	return sysfs_emit(buf, "%llu\n", a->get(c));
}

static const struct sysfs_ops dmr_sysfs_ops = {
	.show = show,
};

/* The kobject is part of the target: removal waits for the last user. */
static void dmr_kobj_release(struct kobject *kobj)
{
	struct dmr_target *c = container_of(kobj, struct dmr_target, kobj);

	complete(&c->kobj_released);
}

static const struct kobj_type dmr_ktype = {
	.release = dmr_kobj_release,
	.sysfs_ops = &dmr_sysfs_ops,
};

/* A device that was renamed while it was live keeps its old name here. */
static bool taken(const char *name)
{
	struct kernfs_node *node = sysfs_get_dirent(dmr_root->sd, name);

	sysfs_put(node);
	return node;
}

void dmr_sysfs_add(struct dmr_target *c)
{
	char name[DM_NAME_LEN + 48];
	size_t n = strscpy(name, c->name, sizeof(name));
	int r;

	/* Not the first of its table: name it by its place too. */
	if (c->ti->begin)
		n += scnprintf(name + n, sizeof(name) - n, "@%llu",
			       (unsigned long long)c->ti->begin);
	if (taken(name))
		scnprintf(name + n, sizeof(name) - n, "@%s",
			  dm_device_name(dm_table_get_md(c->ti->table)));
	reinit_completion(&c->kobj_released);
	memset(&c->kobj, 0, sizeof(c->kobj));
	r = kobject_init_and_add(&c->kobj, &dmr_ktype, dmr_root, "%s", name);
	if (!r)
		r = sysfs_create_files(&c->kobj, (const struct attribute **)dmr_attrs);
	c->kobj_added = true;
	if (r)
		DMWARN("%s: no counters in sysfs (error %d)", c->name, r);
}

void dmr_sysfs_remove(struct dmr_target *c)
{
	if (!c->kobj_added)
		return;
	c->kobj_added = false;
	kobject_del(&c->kobj);
	kobject_put(&c->kobj);
	wait_for_completion(&c->kobj_released);
}

int dmr_sysfs_init(void)
{
	dmr_root = kobject_create_and_add("dm_remap", kernel_kobj);
	return dmr_root ? 0 : -ENOMEM;
}

void dmr_sysfs_exit(void)
{
	kobject_put(dmr_root);
}
