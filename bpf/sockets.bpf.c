// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * The programs that observe socket operations on kernels before 6.3, which have no tracepoints for
 * all of them. There are three ways, and the recorder uses the first that the kernel loads and
 * attaches: trampolines; probes in kernel functions, with the tracepoint below; that tracepoint
 * alone. Kernels before 5.15 lack helpers that all of them need. A separate object, so that a
 * refusal by the kernel affects nothing else; it shares the maps of sslrec.bpf.c.
 *
 * All programs are on functions of internet sockets. Operations on other sockets, such as AF_UNIX,
 * never get here.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "event.h"
#include "maps.h"
#include "process.h"
#include "conn.h"
#include "infer_addr.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* ---- Trampolines at the functions' ends, which have the result ---- */

SEC("fexit/inet_sendmsg")
int BPF_PROG(sent, struct socket *socket, void *message, __u64 len, int result)
{
	socket_used(BPF_CORE_READ(socket, sk), true, true);
	return 0;
}

SEC("fexit/inet6_sendmsg")
int BPF_PROG(sent_6, struct socket *socket, void *message, __u64 len, int result)
{
	socket_used(BPF_CORE_READ(socket, sk), true, true);
	return 0;
}

SEC("fexit/inet_recvmsg")
int BPF_PROG(received, struct socket *socket, void *message, __u64 len, int flags, int result)
{
	socket_used(BPF_CORE_READ(socket, sk), false, result > 0 && !(flags & MSG_PEEK));
	return 0;
}

SEC("fexit/inet6_recvmsg")
int BPF_PROG(received_6, struct socket *socket, void *message, __u64 len, int flags, int result)
{
	socket_used(BPF_CORE_READ(socket, sk), false, result > 0 && !(flags & MSG_PEEK));
	return 0;
}

/*
 * ---- Probes at the functions' beginnings ----
 *
 * Return probes would provide the result. But the kernel has only a few for each function, and each
 * call that waits for data occupies one, so the calls of other programs would use them up. The
 * tracepoint below reports the operations that returned bytes.
 */

static __always_inline void operation_begins(struct pt_regs *ctx, bool sends)
{
	struct socket *socket = (struct socket *)PT_REGS_PARM1_CORE(ctx);

	socket_used(BPF_CORE_READ(socket, sk), sends, sends);
}

SEC("kprobe/inet_sendmsg")
int sends(struct pt_regs *ctx)
{
	operation_begins(ctx, true);
	return 0;
}

SEC("kprobe/inet6_sendmsg")
int sends_6(struct pt_regs *ctx)
{
	operation_begins(ctx, true);
	return 0;
}

SEC("kprobe/inet_recvmsg")
int receives(struct pt_regs *ctx)
{
	operation_begins(ctx, false);
	return 0;
}

SEC("kprobe/inet6_recvmsg")
int receives_6(struct pt_regs *ctx)
{
	operation_begins(ctx, false);
	return 0;
}

/*
 * (struct sock *sk), where TCP has copied bytes to a program; since kernel 4.15. Peeks are
 * included. So are bytes that the kernel consumes itself during an interrupt. The interrupted
 * thread did not receive these; the socket then has no owner.
 */
SEC("raw_tp/tcp_rcv_space_adjust")
int bytes_given(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];

	if (BPF_CORE_READ(sk, sk_lock.owned))
		socket_used(sk, false, true);
	return 0;
}
