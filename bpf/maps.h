/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The maps and their contents. All hash tables are preallocated: tracing programs may run in places
 * where the kernel must not allocate.
 */
#ifndef SSLREC_MAPS_H
#define SSLREC_MAPS_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "event.h"

const volatile struct settings settings = {};

/* Set by the recorder once every probe is attached, and cleared before the first is detached:
 * recording starts and stops for all functions at once. */
bool recording = false;

/* Set while the recorder resumes the processes that are stopped; see stop.h. */
bool stopping = false;

/* Of enum sockets_seen, set according to the attached programs. */
__u8 sockets_seen = SOCKETS_NONE;

/* A process of the recorder whose calls test the probes before anything is recorded; 0: no
 * process. */
__u32 self_test_pid = 0;

/* Functions on trial; a site contains the index of its trial. The first entry stays unused. */
struct trial trials[TRIALS_MAX] = {};

/* Decided trials, so that the recorder need not check each trial. */
__u32 trials_decided = 0;

/* Never written: these put the event types into the BTF from which the Rust types are generated. */
const volatile struct {
	struct event_data data;
	struct event_gap gap;
	struct event_conn conn;
	struct event_tls_param tls_param_event;
	struct event_handshake handshake;
	struct event_close close;
	struct event_piece piece;
	struct event_socket_end socket_end;
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
	enum trial_limit trial_limit;
} event_types = {};

/* Slots in which a function that calls other probed functions marks its object: one for each
 * stream, and one for handshakes. */
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
	__u64 handshake_end_ns;		/* end of the last handshake call that did not succeed */
	struct endpoints ends;
	__s32 fd;			/* as passed to the library; -1: never */
	__u32 refs;			/* references beyond the first */
	__s32 handshake_result;		/* of the last handshake call that did not succeed */
	__u16 handshake_func;		/* its function */
	__u16 lib;
	__u8 role;
	__u8 joined;
	__u8 announced;			/* an EVENT_CONN found room */
	__u8 handshake_done;
	__u8 handshake_unsure;		/* a data call may have ended it */
	__u8 shutdown;			/* the program sent close_notify */
	__u8 params_sent;		/* bits by enum tls_param */
	__u8 direct;			/* calls use a socket themselves */
};

/* A single ring for all events, so that they arrive in the order in which they were reserved. The
 * recorder sets its size before load. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 * 1024 * 1024);
} ring SEC(".maps");

/* Live TLS objects with any activity of interest. SSL_free deletes an entry; the recorder deletes
 * the entries of a process after an exec or at its end. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct conn_key);
	__type(value, struct conn);
} conns SEC(".maps");

/*
 * Calls in flight, by the stack pointer at function entry. No other key is reliable: calls nest on
 * a thread (TLS inside TLS runs SSL_write within SSL_write), and a program that switches stacks
 * begins other calls meanwhile, or ends this call on another thread. The stacks of Go move: see
 * go.h.
 */
struct call_key {
	__u64 sp;			/* Go: the goroutine */
	__u32 pid;
	__u32 depth;			/* Go: from the stack's upper end down to sp; else 0 */
};

enum in_flight {
	CALL_ENDED,			/* the entry is free for the next call */
	CALL_IN_CALLS,
	CALL_IN_MORE_CALLS,
	CALL_IN_GO_CALLS,
};

/* The arguments that the end of a call needs, by the kind of its site. */
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
	__u64 outer_sp;			/* value of current_calls before this call */
	__u64 other_length;		/* of the other direction's stream, when the call ended */
	__s64 trial_result;		/* on trial: the result that an exit site found */
	__u32 site;
	__u8 in_flight;			/* enum in_flight */
	__u8 trial_steps;		/* on trial: bits of the sites that the call has passed */
	__u8 nested;			/* within a wrapper, whose bytes count instead */
	__u8 marked;			/* this call is or was in current_calls */
	__u8 on_stack;			/* Go: args.data.buf is the distance from stack.hi */
	__u8 known;			/* Go: there was a connection when the call began */
	__u8 pad[6];
};

/*
 * Programs make calls from the same few places, and so with the same few stack pointers. An entry
 * therefore stays after its call has ended, and the next call reuses it. This saves an insertion
 * and a deletion for each call, which together cost more than everything else in a call. The
 * recorder deletes the entries when the process ends.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct call_key);
	__type(value, struct call);
} calls SEC(".maps");

/* Calls that found no room in `calls`. Their entries are deleted when the call ends. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct call_key);
	__type(value, struct call);
} more_calls SEC(".maps");

/* Calls in flight of Go programs. Any of many thousand goroutines may wait in a call, and the next
 * call is hardly ever made at the same stack pointer, so these entries are deleted when the call
 * ends. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, struct call_key);
	__type(value, struct call);
} go_calls SEC(".maps");

/* The call that runs on a thread, as its stack pointer, only if a socket operation within the call
 * would be of interest; else 0. A socket operation finds its connection through this map. An entry
 * is deleted with its thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u64);
} current_calls SEC(".maps");

/*
 * The latest socket I/O of a thread outside of TLS calls, and the connection of unknown address
 * that it may belong to; see infer_addr.h. The least recently used entries of this map and of the
 * next are evicted: the address then stays unknown.
 */
struct thread_io {
	struct endpoints received;	/* of the socket that last returned bytes; family 0: none */
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

/* The leading candidate for an address, and its lead. */
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
 * Distinguishes TLS from the other NSPR descriptors of a process, by the address range that
 * contains the methods of its TLS layer. For processes that exist before the recording, the
 * recorder supplies the range of the library's data; SSL_ImportFD yields the exact address.
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

/* The connection that last queried its cipher, by cipher: the program's next query is for the
 * cipher's name. Most ciphers are queried once, so the oldest entries are evicted. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct conn_key);
	__type(value, __u64);
} ciphers SEC(".maps");

/* Processes to record, if the user selected any. */
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

/* Cgroups (version 2); processes below them are included. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, CGROUPS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} cgroups SEC(".maps");

/* Files that the recorder has inspected, and probed if they contain functions to probe. Room for
 * more files than the processes of a machine have mapped as executable; a file that found no room
 * is inspected again. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct file_key);
	__type(value, __u8);
} known_files SEC(".maps");

/* Recorded processes that use TCP, for the report on unrecorded traffic; if there are more, the
 * latest of them. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct tcp_user);
} tcp_users SEC(".maps");

/*
 * Sockets of recorded processes, by the address of their struct sock, and whether they carry TLS;
 * see account.h. An entry is deleted when the connection ends. The least recently used entries are
 * evicted: the recorder then does not learn how many bytes they carried.
 */
struct seen_socket {
	__u64 born_ns;			/* when it was first seen */
	__u64 bytes[2];			/* by enum direction, since then */
	struct endpoints ends;
	__u32 pid;
	__u8 is_tls;
	__u8 looks;			/* operations without a TLS record so far */
	__u8 pieces[2];			/* sent, by enum direction */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct seen_socket);
} seen_sockets SEC(".maps");

/*
 * UDP sockets of recorded processes, by the address of their struct sock, and whether they carry
 * QUIC. Nothing marks the end of a UDP socket: an entry belongs to a new socket if its port or its
 * process is another. The least recently used entries are evicted.
 */
struct seen_datagrams {
	struct seen_socket socket;	/* ends: of the latest datagram; is_tls: QUIC */
	__u32 looks;			/* datagrams in a row without a packet of interest */
	__u32 sent;			/* datagrams sent to the recorder */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct seen_datagrams);
} seen_datagrams SEC(".maps");

/* Processes that are stopped until the recorder has inspected their files, with the start time.
 * Delete the entry before resuming the process. */
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

/* Processes with recorded events, with value 0. Their end is reported. If that event found no room,
 * the time of the end is stored here for the recorder. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u64);
} tls_pids SEC(".maps");

/* Closes that found the ring full, as EVENT_LATE_CLOSE. The recorder collects them, so that the
 * lengths of the streams are still correct. */
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

/* The probe sites. The entries are written before their probes are attached. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct site);
} sites SEC(".maps");

/* By index of the probed file; only Go's files have an entry. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct go_layout);
} go_layouts SEC(".maps");

/*
 * Sites by the code around the probe, for kernels without attach cookies: the low 12 bits of the
 * address, which are those of the file offset, and some of the function's bytes. The first bytes
 * are overwritten by the breakpoint, so the bytes from 8 on are used. A function so short that the
 * next function's breakpoint is in these bytes is not recognised, which is counted.
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
