/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Who is calling, and whether it is to be recorded. Processes go by the numbers of the recorder's
 * own pid namespace, so that a recorder in a container, its /proc and these maps mean the same.
 */
#ifndef SSLREC_PROCESS_H
#define SSLREC_PROCESS_H

#include "maps.h"
#include <bpf/bpf_core_read.h>

/* Namespaces nest at most this deep: MAX_PID_NS_LEVEL. */
#define PID_NS_LEVELS 32

/* pid << 32 | tid of the caller. 0, which is nobody's: not in the recorder's namespace. */
static __always_inline __u64 current_thread(void)
{
	struct bpf_pidns_info in_ns = {};

	if (!settings.pid_ns_ino)
		return bpf_get_current_pid_tgid();
	if (bpf_get_ns_current_pid_tgid(settings.pid_ns_dev, settings.pid_ns_ino, &in_ns,
					sizeof(in_ns)))
		return 0;
	return (__u64)in_ns.tgid << 32 | in_ns.pid;
}

/* The number of another process; 0 where it is not in the recorder's namespace. */
static __always_inline __u32 pid_of(struct task_struct *task)
{
	struct pid *pid;
	__u32 level;

	if (!settings.pid_ns_ino)
		return BPF_CORE_READ(task, tgid);
	pid = BPF_CORE_READ(task, group_leader, thread_pid);
	level = BPF_CORE_READ(pid, level);
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < PID_NS_LEVELS; i++) {
		struct upid number;

		if (i > level)
			break;
		if (bpf_core_read(&number, sizeof(number), &pid->numbers[i]))
			break;
		if (BPF_CORE_READ(number.ns, ns.inum) == settings.pid_ns_ino)
			return number.nr;
	}
	return 0;
}

static __always_inline bool is_wanted(__u32 pid)
{
	if (!pid)
		return false;
	if (settings.filter_pids && !bpf_map_lookup_elem(&pids, &pid))
		return false;
	if (settings.filter_uids) {
		__u32 uid = bpf_get_current_uid_gid();

		if (!bpf_map_lookup_elem(&uids, &uid))
			return false;
	}
	if (settings.filter_comms) {
		struct task_struct *task = (void *)bpf_get_current_task();
		struct comm_key key = {};

		BPF_CORE_READ_STR_INTO(&key.comm, task, group_leader, comm);
		if (!bpf_map_lookup_elem(&comms, &key))
			return false;
	}
	return true;
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
