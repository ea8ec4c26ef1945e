/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Stops a process that begins to use the network with a file mapped that the recorder has not
 * inspected; the recorder resumes it once the file is probed. The mappings decide, so that neither
 * the loader nor the way in which the file was mapped matters.
 *
 * The recorder receives mappings as they are made, and is usually faster; then no process is
 * stopped. No process is stopped either if the kernel cannot walk mappings (before 6.7).
 */
#ifndef SSLREC_STOP_H
#define SSLREC_STOP_H

#include "process.h"

extern int bpf_iter_task_vma_new(struct bpf_iter_task_vma *it, struct task_struct *task,
				 __u64 addr) __ksym __weak;
extern struct vm_area_struct *bpf_iter_task_vma_next(struct bpf_iter_task_vma *it) __ksym __weak;
extern void bpf_iter_task_vma_destroy(struct bpf_iter_task_vma *it) __ksym __weak;

/* A walk fails while another thread changes the mappings. */
#define WALK_ATTEMPTS 4

enum walk {
	WALK_REFUSED,
	WALK_ALL_KNOWN,
	WALK_FOUND,
};

static __always_inline bool is_known(struct vm_area_struct *vma, struct file_key *key)
{
	struct file *file = BPF_CORE_READ(vma, vm_file);

	if (!file || !(BPF_CORE_READ(vma, vm_flags) & VM_EXEC))
		return true;
	key->inode = BPF_CORE_READ(file, f_inode, i_ino);
	key->dev = BPF_CORE_READ(file, f_inode, i_sb, s_dev);
	return bpf_map_lookup_elem(&known_files, key);
}

/* Searches for an unknown file that the caller has mapped as executable. */
static __always_inline enum walk walk_mappings(struct file_key *key)
{
	struct bpf_iter_task_vma it;
	struct vm_area_struct *vma;
	enum walk result = WALK_REFUSED;

	if (!bpf_iter_task_vma_new(&it, bpf_get_current_task_btf(), 0)) {
		result = WALK_ALL_KNOWN;
		while ((vma = bpf_iter_task_vma_next(&it))) {
			if (!is_known(vma, key)) {
				result = WALK_FOUND;
				break;
			}
		}
	}
	bpf_iter_task_vma_destroy(&it);
	return result;
}

static __always_inline void stop_if_unknown(void)
{
	__u32 pid = current_thread() >> 32;
	struct file_key key = {};
	enum walk result = WALK_REFUSED;
	struct event_stop *e;
	__u64 now_ns;

	if (!settings.have_task_vma || !stopping || !is_wanted(pid) ||
	    bpf_map_lookup_elem(&stopped, &pid))
		return;
	for (int i = 0; i < WALK_ATTEMPTS && result == WALK_REFUSED; i++)
		result = walk_mappings(&key);
	if (result == WALK_REFUSED)
		count(COUNT_NOT_LOOKED_THROUGH);
	if (result != WALK_FOUND)
		return;
	now_ns = bpf_ktime_get_boot_ns();
	e = bpf_ringbuf_reserve(&stops, sizeof(*e), 0);
	if (!e) {
		count(COUNT_NOT_LOOKED_THROUGH);
		return;
	}
	/* The entry is added before the stop: the recorder may resume only processes in the
	 * table. */
	if (bpf_map_update_elem(&stopped, &pid, &now_ns, BPF_ANY) || bpf_send_signal(SIGSTOP)) {
		bpf_map_delete_elem(&stopped, &pid);
		bpf_ringbuf_discard(e, BPF_RB_NO_WAKEUP);
		count(COUNT_NOT_LOOKED_THROUGH);
		return;
	}
	e->ts_ns = now_ns;
	e->file = key;
	e->pid = pid;
	e->pad = 0;
	bpf_ringbuf_submit(e, BPF_RB_FORCE_WAKEUP);
}

#endif
