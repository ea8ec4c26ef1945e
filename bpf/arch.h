/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The machine: everything that depends on x86-64 and is not covered by the PT_REGS macros of
 * libbpf. Another machine needs its part of this file, its registers in vmlinux.h, and its module
 * in recorder/src/arch.
 */
#ifndef SSLREC_ARCH_H
#define SSLREC_ARCH_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "event.h"

#if !defined(__TARGET_ARCH_x86)
#error "sslrec records on x86-64 only"
#endif

/* Bytes that a return pops between the exit of a function and its return probe: the address. */
#define RETURN_POPS 8

/* Returns the number of a task's address space. The kernel never reuses such a number. */
static __always_inline __u64 address_space_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, mm, context.ctx_id);
}

/* Returns true, and stores the result in `value`, if the result at an exit site is in a register
 * and not on the stack. */
static __always_inline bool result_in_register(const struct pt_regs *ctx, __u8 result,
					       __s64 *value)
{
	switch (result) {
	case RESULT_AX:
		*value = ctx->ax;
		return true;
	case RESULT_BX:
		*value = ctx->bx;
		return true;
	case RESULT_BP:
		*value = ctx->bp;
		return true;
	case RESULT_R12:
		*value = ctx->r12;
		return true;
	case RESULT_R13:
		*value = ctx->r13;
		return true;
	case RESULT_R14:
		*value = ctx->r14;
		return true;
	case RESULT_R15:
		*value = ctx->r15;
		return true;
	case RESULT_GUARDED:
		*value = (__s32)ctx->ax;
		return *value <= 0;
	default:
		return false;
	}
}

/* ---- The register ABI of Go, since 1.17 ---- */

static __always_inline __u64 go_goroutine(const struct pt_regs *ctx)
{
	return ctx->r14;
}

static __always_inline __u64 go_first(const struct pt_regs *ctx)
{
	return ctx->ax;
}

static __always_inline __u64 go_second(const struct pt_regs *ctx)
{
	return ctx->bx;
}

static __always_inline __u64 go_third(const struct pt_regs *ctx)
{
	return ctx->cx;
}

static __always_inline __u64 go_fourth(const struct pt_regs *ctx)
{
	return ctx->di;
}

/* The register of the first argument. */
static __always_inline __u64 go_result(const struct pt_regs *ctx)
{
	return ctx->ax;
}

#define FLAG_CARRY 0x001
#define FLAG_ZERO 0x040

/* Returns true if the conditional jump of the prologue, where the entry probe is, will be taken:
 * the stack must grow first, or the goroutine must yield. The function then begins again. */
static __always_inline bool go_begins_anew(const struct pt_regs *ctx)
{
	return ctx->flags & (FLAG_CARRY | FLAG_ZERO);
}

/* Numbers of the system calls that pass bytes to and from sockets. */
#define SYSCALL_READ 0
#define SYSCALL_WRITE 1
#define SYSCALL_READV 19
#define SYSCALL_WRITEV 20
#define SYSCALL_SENDTO 44
#define SYSCALL_RECVFROM 45
#define SYSCALL_SENDMSG 46
#define SYSCALL_RECVMSG 47
#define SYSCALL_RECVMMSG 299
#define SYSCALL_SENDMMSG 307

/* Offset of msg_iov in struct user_msghdr. */
#define MSGHDR_IOV 16

/* Bytes of the program. */
struct user_bytes {
	__u64 at;
	__u64 len;
	__u64 next;			/* the struct iovec of the bytes after them; 0: none */
};

/*
 * Finds the first of the `moved` bytes that the current system call read or wrote: those in its
 * first buffer. Returns false in a system call that has no buffer, such as sendfile or those of
 * io_uring.
 */
static __always_inline bool bytes_of_system_call(struct user_bytes *bytes, __u64 moved)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	__u64 number = BPF_CORE_READ(regs, orig_ax), second = BPF_CORE_READ(regs, si);
	__u64 vector[2];

	switch (number) {
	case SYSCALL_READ:
	case SYSCALL_WRITE:
	case SYSCALL_SENDTO:
	case SYSCALL_RECVFROM:
		bytes->at = second;
		bytes->len = moved;
		bytes->next = 0;
		return true;
	case SYSCALL_SENDMSG:
	case SYSCALL_RECVMSG:
		if (bpf_probe_read_user(&second, sizeof(second), (void *)second + MSGHDR_IOV))
			return false;
		break;
	case SYSCALL_READV:
	case SYSCALL_WRITEV:
		break;
	default:
		return false;
	}
	if (bpf_probe_read_user(vector, sizeof(vector), (void *)second))
		return false;
	/* Erlang leaves the first buffer empty. */
	if (!vector[1]) {
		second += sizeof(vector);
		if (bpf_probe_read_user(vector, sizeof(vector), (void *)second))
			return false;
	}
	bytes->at = vector[0];
	bytes->len = vector[1] < moved ? vector[1] : moved;
	bytes->next = second + sizeof(vector);
	return true;
}

/* The first datagram of a system call, and the address of its peer's struct sockaddr; 0: none. */
struct user_datagram {
	__u64 at;
	__u64 len;
	__u64 name;
};

/* Finds the first datagram that the current system call reads or writes, in whose first buffer
 * there are `moved` bytes at most. */
static __always_inline bool datagram_of_system_call(struct user_datagram *datagram, __u64 moved)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (void *)bpf_task_pt_regs(task);
	__u64 second = BPF_CORE_READ(regs, si);
	__u64 words[3];

	datagram->name = 0;
	switch (BPF_CORE_READ(regs, orig_ax)) {
	case SYSCALL_SENDTO:
	case SYSCALL_RECVFROM:
		datagram->name = BPF_CORE_READ(regs, r8);
		/* fall through */
	case SYSCALL_READ:
	case SYSCALL_WRITE:
		datagram->at = second;
		datagram->len = moved;
		return true;
	case SYSCALL_SENDMSG:
	case SYSCALL_RECVMSG:
	case SYSCALL_SENDMMSG:
	case SYSCALL_RECVMMSG:
		/* struct user_msghdr: the name, its length, the vector. */
		if (bpf_probe_read_user(words, sizeof(words), (void *)second))
			return false;
		datagram->name = words[0];
		if (bpf_probe_read_user(words, 2 * sizeof(words[0]), (void *)words[2]))
			return false;
		datagram->at = words[0];
		datagram->len = words[1] < moved ? words[1] : moved;
		return true;
	}
	return false;
}

#endif
