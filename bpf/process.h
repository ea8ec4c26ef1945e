/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The calling process, and whether it is recorded. Process numbers are those of the recorder's own
 * pid namespace, so that a recorder in a container, its /proc and these maps agree.
 */
#ifndef SSLREC_PROCESS_H
#define SSLREC_PROCESS_H

#include "arch.h"
#include "maps.h"
#include <bpf/bpf_core_read.h>

/* Maximum depth of namespaces: MAX_PID_NS_LEVEL. */
#define PID_NS_LEVELS 32

/* Returns the number of a task in the recorder's namespace; 0 if the task is outside of it. */
static __always_inline __u32 number_of(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < PID_NS_LEVELS; i++) {
		struct upid number;

		if (i > level || bpf_core_read(&number, sizeof(number), &pid->numbers[i]))
			break;
		if (BPF_CORE_READ(number.ns, ns.inum) == settings.pid_ns_ino)
			return number.nr;
	}
	return 0;
}

/* Returns the number of a task's process. */
static __always_inline __u32 pid_of(struct task_struct *task)
{
	if (!settings.pid_ns_ino)
		return BPF_CORE_READ(task, tgid);
	return number_of(BPF_CORE_READ(task, group_leader));
}

/* A global function: the verifier checks it once and not at every call, which would add up to
 * hundreds of thousands of instructions. Its stack is separate, too. */
__noinline __u64 current_thread_in_namespace(void)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	return (__u64)pid_of(task) << 32 | number_of(task);
}

/* Returns pid << 32 | tid of the caller; 0, which no task has, if it is outside of the
 * namespace. */
static __always_inline __u64 current_thread(void)
{
	return settings.pid_ns_ino ? current_thread_in_namespace() : bpf_get_current_pid_tgid();
}

static __always_inline void count_add(__u32 which, __u64 n)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &which);

	/* A self-test may run during a recording, and is not recorded. */
	if (self_test_pid && current_thread() >> 32 == self_test_pid)
		return;
	if (value)
		__sync_fetch_and_add(value, n);
}

static __always_inline void count(__u32 which)
{
	count_add(which, 1);
}

/*
 * Distinguishes the image that a task executes from earlier images of its process, and from images
 * of earlier processes with the same number. Only the lower 16 bits of the address space's number
 * fit, so one image in 65,536 is mistaken for another.
 */
static __always_inline __u64 image_of(struct task_struct *task)
{
	return address_space_of(task) << 48;
}

/*
 * Returns the address of a TLS object of the calling process, with its image in the upper bits,
 * which user addresses leave free: other images may have objects at the same address.
 */
static __always_inline __u64 object_of(__u64 ssl)
{
	return ssl ^ image_of((void *)bpf_get_current_task());
}

static __always_inline bool is_in_cgroups(void)
{
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < CGROUPS_MAX; i++) {
		if (i >= settings.filter_cgroups)
			break;
		if (bpf_current_task_under_cgroup(&cgroups, i) == 1)
			return true;
	}
	return false;
}

static __always_inline bool is_wanted(__u32 pid)
{
	if (!pid)
		return false;
	if (pid == self_test_pid)
		return true;
	if (!recording)
		return false;
	if (settings.filter_pids && !bpf_map_lookup_elem(&pids, &pid))
		return false;
	if (settings.filter_uids) {
		__u32 uid = bpf_get_current_uid_gid();

		if (!bpf_map_lookup_elem(&uids, &uid))
			return false;
	}
	if (settings.filter_cgroups && !is_in_cgroups())
		return false;
	if (settings.filter_comms) {
		struct task_struct *task = (void *)bpf_get_current_task();
		struct comm_key key = {};

		BPF_CORE_READ_STR_INTO(&key.comm, task, group_leader, comm);
		if (!bpf_map_lookup_elem(&comms, &key))
			return false;
	}
	return true;
}

/* Notes that the caller uses TCP at this port. */
static __always_inline void note_tcp_user(__u16 port)
{
	__u32 pid = current_thread() >> 32;
	struct tcp_user first = { .ports = { port } };
	struct tcp_user *user;

	if (!is_wanted(pid))
		return;
	user = bpf_map_lookup_elem(&tcp_users, &pid);
	if (!user) {
		/* Fails only if another thread inserts it first. */
		bpf_map_update_elem(&tcp_users, &pid, &first, BPF_NOEXIST);
		return;
	}
#pragma clang loop unroll(full)
	for (int i = 0; i < USER_PORTS; i++) {
		if (user->ports[i] == port)
			return;
		if (!user->ports[i]) {
			user->ports[i] = port;
			return;
		}
	}
}

static __always_inline void follow_child(struct task_struct *parent, struct task_struct *child)
{
	__u32 parent_pid, child_pid;
	__u8 one = 1;

	if (!settings.filter_pids || !settings.follow_children)
		return;
	/* A thread, not a process. */
	if (BPF_CORE_READ(parent, tgid) == BPF_CORE_READ(child, tgid))
		return;
	parent_pid = pid_of(parent);
	if (!bpf_map_lookup_elem(&pids, &parent_pid))
		return;
	child_pid = pid_of(child);
	if (bpf_map_update_elem(&pids, &child_pid, &one, BPF_ANY))
		count(COUNT_PID_TABLE_FULL);
}

#endif
