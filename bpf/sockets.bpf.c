// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/*
 * How socket operations are seen on kernels before 6.3, which have no tracepoints that tell of all
 * of them. Three ways have their programs here, and the recorder takes the first that the kernel
 * lets it load and attach: trampolines; probes in kernel functions, with the tracepoint below; that
 * tracepoint alone. Kernels before 5.15 lack helpers that all of them need. An object of its own,
 * so that what a kernel refuses of it harms nothing else; it shares the maps of sslrec.bpf.c.
 *
 * All are on functions of internet sockets. What runs on others, such as those of AF_UNIX, never
 * gets here.
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

/* ---- Trampolines at the functions' ends: they have the result, so all is known ---- */

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
 * Return probes would tell the result, but each call that waits for data holds one of the few that
 * the kernel has for a function, so those of other programs would use them up. What gives bytes
 * is known by the tracepoint below.
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
 * (struct sock *sk), where TCP has copied bytes to a program; since kernel 4.15. Peeks come here
 * too. So do bytes that the kernel takes for itself while it serves an interrupt, which are no
 * doing of the thread that was interrupted; then nobody owns the socket.
 */
SEC("raw_tp/tcp_rcv_space_adjust")
int bytes_given(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];

	if (BPF_CORE_READ(sk, sk_lock.owned))
		socket_used(sk, false, true);
	return 0;
}
