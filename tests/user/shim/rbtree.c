// SPDX-License-Identifier: GPL-2.0-only
#include <linux/rbtree.h>

#include "shim.h"

static struct rng priorities;

static struct rb_node **link_to(struct rb_node *n, struct rb_root *root)
{
	if (!n->parent)
		return &root->rb_node;
	return n->parent->rb_left == n ? &n->parent->rb_left : &n->parent->rb_right;
}

/* Turn @n and its parent round: @n goes up, the order stays. */
static void rotate_up(struct rb_node *n, struct rb_root *root)
{
	struct rb_node *p = n->parent, *moved;

	*link_to(p, root) = n;
	if (p->rb_left == n) {
		moved = n->rb_right;
		p->rb_left = moved;
		n->rb_right = p;
	} else {
		moved = n->rb_left;
		p->rb_right = moved;
		n->rb_left = p;
	}
	if (moved)
		moved->parent = p;
	n->parent = p->parent;
	p->parent = n;
}

void rb_insert_color(struct rb_node *node, struct rb_root *root)
{
	node->priority = rng_next(&priorities);
	while (node->parent && node->parent->priority < node->priority)
		rotate_up(node, root);
}

void rb_erase(struct rb_node *node, struct rb_root *root)
{
	struct rb_node *l, *r;

	while ((l = node->rb_left) && (r = node->rb_right))
		rotate_up(l->priority > r->priority ? l : r, root);
	l = node->rb_left ? node->rb_left : node->rb_right;
	*link_to(node, root) = l;
	if (l)
		l->parent = node->parent;
}

static struct rb_node *leftmost(struct rb_node *n)
{
	while (n && n->rb_left)
		n = n->rb_left;
	return n;
}

static struct rb_node *rightmost(struct rb_node *n)
{
	while (n && n->rb_right)
		n = n->rb_right;
	return n;
}

struct rb_node *rb_first(const struct rb_root *root)
{
	return leftmost(root->rb_node);
}

struct rb_node *rb_last(const struct rb_root *root)
{
	return rightmost(root->rb_node);
}

struct rb_node *rb_next(const struct rb_node *node)
{
	if (node->rb_right)
		return leftmost(node->rb_right);
	while (node->parent && node->parent->rb_right == node)
		node = node->parent;
	return node->parent;
}

struct rb_node *rb_prev(const struct rb_node *node)
{
	if (node->rb_left)
		return rightmost(node->rb_left);
	while (node->parent && node->parent->rb_left == node)
		node = node->parent;
	return node->parent;
}
