// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The programs that every recording needs. Four serve every probed function of a C library: the
 * entry of a call; its end, by an exit site or by a return probe; and functions that need only an
 * entry probe. The others follow sockets and processes. The bodies are in the headers:
 *
 *   event.h          the events                    maps.h      the state
 *   arch.h           the machine                   process.h   the filters
 *   site.h           the function of a probe       stop.h      processes that wait for their probes
 *   conn.h           connections                   addr.h      their addresses; infer_addr.h
 *   in_flight.h      calls in flight               call.h      entry and exit of calls
 *   payload.h        the bytes of a call           nspr.h      descriptors that may be TLS
 *   getters.h        constructors and getters      entry_only.h
 *   account.h        TLS at sockets
 *
 * go.bpf.c and sockets.bpf.c are loaded only where they are of use.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include "event.h"
#include "maps.h"
#include "process.h"
#include "stop.h"
#include "infer_addr.h"
#include "call.h"
#include "entry_only.h"
#include "account.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("uprobe")
int call_enter(struct pt_regs *ctx)
{
	return enter_call(ctx);
}

SEC("uprobe")
int call_exit(struct pt_regs *ctx)
{
	return leave_call(ctx);
}

SEC("uretprobe")
int call_return(struct pt_regs *ctx)
{
	return return_from_call(ctx);
}

SEC("uprobe")
int entry_only(struct pt_regs *ctx)
{
	return enter_entry_only(ctx);
}

/* Both since kernel 6.3: (struct sock *sk, int result, int flags), after the operation. */
SEC("raw_tp/sock_send_length")
int sock_send_length(struct bpf_raw_tracepoint_args *ctx)
{
	int result = ctx->args[1];

	socket_used((struct sock *)ctx->args[0], true, true);
	if (result > 0)
		account_operation(ctx->args[0], DIR_SENT, result);
	return 0;
}

SEC("raw_tp/sock_recv_length")
int sock_recv_length(struct bpf_raw_tracepoint_args *ctx)
{
	int result = ctx->args[1];
	int flags = ctx->args[2];

	/* A failed operation within a call identifies the socket as well; an operation that
	 * returned bytes yields more. */
	socket_used((struct sock *)ctx->args[0], false, result > 0 && !(flags & MSG_PEEK));
	if (result > 0 && !(flags & MSG_PEEK))
		account_operation(ctx->args[0], DIR_RECEIVED, result);
	return 0;
}

/* (struct sock *sk, int oldstate, int newstate). Connecting and listening happen in the process
 * that owns the socket; other state changes can happen in any context. */
SEC("raw_tp/inet_sock_set_state")
int inet_sock_set_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	int state = ctx->args[2];

	if (state == TCP_CLOSE)
		account_close(ctx->args[0]);
	if (state != TCP_SYN_SENT && state != TCP_LISTEN)
		return 0;
	note_tcp_user(state == TCP_LISTEN ? BPF_CORE_READ(sk, __sk_common.skc_num)
					  : bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport)));
	stop_if_unknown();
	return 0;
}

/* (struct task_struct *parent, struct task_struct *child), before the child first runs */
SEC("raw_tp/sched_process_fork")
int sched_process_fork(struct bpf_raw_tracepoint_args *ctx)
{
	follow_child((struct task_struct *)ctx->args[0], (struct task_struct *)ctx->args[1]);
	return 0;
}

static __always_inline bool send_process(__u8 kind, __u32 pid)
{
	struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);

	if (!e) {
		count(COUNT_CONTROL_RING_FULL);
		return false;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->kind = kind;
	e->pid = pid;
	e->tid = pid;
	e->ts_ns = bpf_ktime_get_boot_ns();
	bpf_ringbuf_submit(e, wakeup_flags());
	return true;
}

/* An exec destroys all TLS objects of the process. If this event finds no room, they are closed
 * with the process. */
SEC("raw_tp/sched_process_exec")
int sched_process_exec(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 pid = current_thread() >> 32;

	bpf_map_delete_elem(&tls_layers, &pid);
	if (bpf_map_lookup_elem(&tls_pids, &pid))
		send_process(EVENT_EXEC, pid);
	return 0;
}

/* Runs for each thread; the last thread is the end of the process. */
SEC("raw_tp/sched_process_exit")
int sched_process_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	__u64 thread = current_thread();
	__u32 pid = thread >> 32;
	__u64 now_ns = bpf_ktime_get_boot_ns();

	bpf_map_delete_elem(&current_calls, &thread);
	bpf_map_delete_elem(&thread_ios, &thread);
	if (BPF_CORE_READ(task, signal, live.counter))
		return 0;
	bpf_map_delete_elem(&pids, &pid);
	bpf_map_delete_elem(&stopped, &pid);
	bpf_map_delete_elem(&tls_layers, &pid);
	if (!bpf_map_lookup_elem(&tls_pids, &pid))
		return 0;
	if (send_process(EVENT_EXIT, pid))
		bpf_map_delete_elem(&tls_pids, &pid);
	else
		bpf_map_update_elem(&tls_pids, &pid, &now_ns, BPF_EXIST);
	return 0;
}
