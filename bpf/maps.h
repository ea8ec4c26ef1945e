/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The maps, and what each holds. All hash tables are preallocated: tracing programs may run in
 * places where the kernel must not allocate.
 */
#ifndef SSLREC_MAPS_H
#define SSLREC_MAPS_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "event.h"

const volatile struct settings settings = {};

/* Set by the recorder once every probe is in, and cleared before the first is taken out: all
 * functions are recorded from one moment to another. */
bool recording = false;

/* Set while the recorder resumes the processes that are stopped; see stop.h. */
bool stopping = false;

/* Of enum sockets_seen: what is attached tells. */
__u8 sockets_seen = SOCKETS_NONE;

/* A process of the recorder's own whose calls try the probes before anything is recorded; 0:
 * none. */
__u32 self_test_pid = 0;

/* Functions on trial; a site has the index of its own. The first entry stays unused. */
#define TRIALS_MAX 2048

struct trial trials[TRIALS_MAX] = {};

/* Trials that came to a decision, so that the recorder need not look at each. */
__u32 trials_decided = 0;

/* Never written: these put the event types into the BTF from which the Rust types are made. */
const volatile struct {
	struct event_data data;
	struct event_gap gap;
	struct event_conn conn;
	struct event_tls_param tls_param_event;
	struct event_handshake handshake;
	struct event_close close;
	struct event_stop stop;
	enum event_kind event_kind;
	enum counter counter;
	enum sockets_seen sockets_seen;
	enum direction direction;
	enum role role;
	enum gap_cause gap_cause;
	enum tls_param tls_param;
	enum site_kind site_kind;
	enum site_result site_result;
	enum site_output site_output;
	enum site_flag site_flag;
	enum trial_side trial_side;
} event_types = {};

/* Slots in which a function that calls other probed ones marks its object: one a stream, and
 * one for handshakes. */
#define SLOT_HANDSHAKE 2
#define SLOTS 3

struct conn_key {
	__u64 ssl;
	__u32 pid;
	__u32 pad;
};

struct conn {
	__u64 born_ns;
	__u64 offset[2];		/* by enum direction: bytes so far, missing ones included */
	__u64 wrapper_sp[SLOTS];	/* stack pointer of the outermost call; 0: none */
	__u64 wrapper_thread[SLOTS];
	__u64 handshake_ns;		/* when the first handshake call began */
	__u64 handshake_end_ns;		/* when the last one ended that did not succeed */
	struct endpoints ends;
	__s32 fd;			/* as given to the library; -1: never */
	__u32 refs;			/* references beyond the first */
	__s32 handshake_result;		/* of the last handshake call that did not succeed */
	__u16 handshake_func;		/* its function */
	__u16 lib;
	__u8 role;
	__u8 joined;
	__u8 announced;			/* an EVENT_CONN found room */
	__u8 handshake_done;
	__u8 handshake_unsure;		/* a data call may have ended it */
	__u8 shutdown;			/* the program said goodbye */
	__u8 params_sent;		/* bits by enum tls_param */
	__u8 direct;			/* its calls use a socket themselves */
};

/* One ring for all: the order in which events were reserved is the order of things. The
 * recorder sets its size before load. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 * 1024 * 1024);
} ring SEC(".maps");

/* Every live TLS object that did something worth knowing. An entry goes with SSL_free, or, by the
 * recorder's hand, after an exec or the end of its process. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct conn_key);
	__type(value, struct conn);
} conns SEC(".maps");

/*
 * Calls in flight, by the stack pointer at function entry. Nothing else tells them apart for sure:
 * calls nest on a thread (TLS inside TLS runs SSL_write within SSL_write), and a program that
 * switches stacks begins other calls meanwhile, or ends this one on another thread. The stacks of
 * Go move: see go.h.
 */
struct call_key {
	__u64 sp;			/* Go: the goroutine */
	__u32 pid;
	__u32 depth;			/* Go: from the stack's upper end down to sp; else 0 */
};

enum in_flight {
	CALL_ENDED,			/* the entry waits for the next one */
	CALL_IN_CALLS,
	CALL_IN_MORE_CALLS,
	CALL_IN_GO_CALLS,
};

/* The arguments of a call that its end needs, by the kind of its site. */
union call_args {
	struct {
		__u64 buf;
		__u64 len;		/* the most bytes that the call may read or write */
		__u64 count_ptr;	/* address of the byte count, if site.count_arg */
	} data;				/* SITE_DATA, SITE_FLUSH */
	struct {
		__u64 offset;		/* length of the stream when the call began */
		__u64 unused[2];
	} sendfile;			/* SITE_SENDFILE */
	struct {
		__u64 out;		/* the first argument: receives the object */
		__u64 role;		/* enum role */
		__u64 unused;
	} create;			/* SITE_CREATE */
	struct {
		__u64 out;		/* the second argument */
		__u64 out_len;		/* the third */
		__u64 unused;
	} get;				/* SITE_GET */
	__u64 words[3];			/* all 0 for SITE_HANDSHAKE */
};

struct call {
	__u64 ssl;			/* see object_of(); 0 for SITE_CREATE */
	union call_args args;
	__u64 start_ns;
	__u64 thread;			/* pid << 32 | tid, of the entry */
	__u64 outer_sp;			/* what current_calls held before this call */
	__s64 trial_result;		/* on trial: the result that an exit site found */
	__u32 site;
	__u8 in_flight;			/* enum in_flight */
	__u8 trial_steps;		/* on trial: bits of the sites that the call has passed */
	__u8 nested;			/* within a wrapper, which counts; this one does not */
	__u8 marked;			/* this call stands in current_calls, or did */
	__u8 on_stack;			/* Go: args.data.buf is the distance from stack.hi */
	__u8 known;			/* Go: there was a connection when the call began */
	__u8 pad[6];
};

/*
 * Programs call from the same few places, so from the same few stack pointers: an entry stays
 * when its call has ended, and the next call finds it made. That saves an insertion and a deletion
 * for each call, which cost more than all else that is done for one. Entries go with their
 * process, by the recorder's hand.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct call_key);
	__type(value, struct call);
} calls SEC(".maps");

/* Calls for which `calls` had no room left. These go when they end. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct call_key);
	__type(value, struct call);
} more_calls SEC(".maps");

/* Calls in flight of Go programs. Any of many thousand goroutines may wait in one, and hardly ever
 * is the next call made from the same place, so these go when they end. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, struct call_key);
	__type(value, struct call);
} go_calls SEC(".maps");

/* The call that runs on a thread, by its stack pointer, only where a socket operation within it
 * would tell something; else 0. By it the operation finds its connection. An entry goes with its
 * thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u64);
} current_calls SEC(".maps");

/*
 * The latest socket I/O of a thread outside of TLS calls, and the connection of unknown address
 * that it may belong to; see infer_addr.h. The least recently used entries of this map and of the
 * next make room for others: then an address stays unknown.
 */
struct thread_io {
	struct endpoints received;	/* of the socket that gave bytes last; family 0: none */
	__u16 has_written;		/* `writer` wrote, and nothing has been sent since */
	__u16 pad[3];
	struct conn_key writer;
	__u64 writer_born_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct thread_io);
} thread_ios SEC(".maps");

/* The address that most speaks for, and how much. */
struct guess {
	struct endpoints ends;
	__u64 born_ns;			/* of the connection */
	__u64 votes;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct conn_key);
	__type(value, struct guess);
} guesses SEC(".maps");

/*
 * What tells TLS among the descriptors of NSPR in a process: the addresses between which the
 * methods of its TLS layer are. The recorder knows the library's data of processes that are there
 * before it; SSL_ImportFD tells the very address.
 */
struct tls_layer {
	__u64 methods_start;
	__u64 methods_end;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct tls_layer);
} tls_layers SEC(".maps");

/* The connection that last asked for its cipher, by that cipher: what the program asks next is
 * the cipher's name. Most are asked for once, so the oldest make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct conn_key);
	__type(value, __u64);
} ciphers SEC(".maps");

/* Processes to record, where the user named some. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u8);
} pids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u8);
} uids SEC(".maps");

struct comm_key {
	char comm[COMM_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct comm_key);
	__type(value, __u8);
} comms SEC(".maps");

/* Groups of the second version of cgroups; processes below them count too. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, CGROUPS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} cgroups SEC(".maps");

/* Files that the recorder has looked at, and probed if there was anything to probe. More than
 * a machine's processes have mapped to be executed; one that finds no room costs another look. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct file_key);
	__type(value, __u8);
} known_files SEC(".maps");

/* Recorded processes that use TCP, for the report on what was not recorded of them: the latest of
 * them, where there are more. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct tcp_user);
} tcp_users SEC(".maps");

/* Processes that are stopped until the recorder has inspected their files, and since when. Delete
 * the entry before resuming the process. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} stopped SEC(".maps");

/* An event_stop for each stopped process. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} stops SEC(".maps");

/* Processes of which something was recorded, with 0. Their end is reported; where that found no
 * room, the time of the end stays here for the recorder to find. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u64);
} tls_pids SEC(".maps");

/* Closes that found the ring full, as EVENT_LATE_CLOSE. The recorder collects them, so that even
 * then the lengths of the streams come out right. */
struct close_key {
	__u64 ssl;
	__u64 born_ns;
	__u32 pid;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct close_key);
	__type(value, struct event_close);
} late_closes SEC(".maps");

/* What was probed. The entries are written before their probes are attached. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct site);
} sites SEC(".maps");

/* By index of the probed file; only Go's have one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct go_layout);
} go_layouts SEC(".maps");

/*
 * Sites by what the code at the probe looks like, for kernels without attach cookies: the low 12
 * bits of the address, which are those of the file offset, and some of the function's bytes. The
 * first of them are the breakpoint's, so those from 8 on are taken. A function so short that the
 * next one's breakpoint lies there is not recognised, which is counted.
 */
struct site_key {
	__u64 code;
	__u32 page_offset;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct site_key);
	__type(value, __u32);
} sites_by_code SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

#endif
