/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The interface between the kernel side and the recorder: events through the ring, settings that
 * are written before load, and probe sites. This is the only definition; the recorder's Rust types
 * are generated from it by way of BTF, and both sides assert the sizes.
 *
 * All times are CLOCK_BOOTTIME nanoseconds. All integers are in the machine's own byte order:
 * nothing here is ever written to a file.
 */
#ifndef SSLREC_EVENT_H
#define SSLREC_EVENT_H

#define COMM_LEN 16
#define NAME_LEN 256

/* The most bytes of data in one event; the smaller classes save ring space. */
#define CHUNK_MAX 16384
/* Number of cgroups that can be selected. */
#define CGROUPS_MAX 64
/* Chunks copied of one call: 64 MiB. The rest of a longer call is reported as a gap. */
#define CALL_CHUNKS_MAX 4096

enum event_kind {
	EVENT_NONE,
	EVENT_DATA,
	EVENT_GAP,
	EVENT_CONN,
	EVENT_TLS_PARAM,
	EVENT_HANDSHAKE,
	EVENT_CLOSE,
	EVENT_LATE_CLOSE,		/* never in the ring: see the map late_closes */
	EVENT_EXEC,
	EVENT_EXIT,
	EVENT_PIECE,
	EVENT_SOCKET_END,
	EVENT_DATAGRAM,
};

enum direction {
	DIR_SENT,
	DIR_RECEIVED,
};

enum role {
	ROLE_UNKNOWN,
	ROLE_CLIENT,
	ROLE_SERVER,
	/* In sites only: an argument determines the role. */
	ROLE_BY_GNUTLS_FLAGS,		/* the second: flags of gnutls_init */
	ROLE_BY_AS_SERVER,		/* the second: 0 is the client */
	ROLE_BY_S2N_MODE,		/* the first: 0 is the server */
};

/* A parameter of a connection that a program sets or queries. */
enum tls_param {
	PARAM_SERVER_NAME,
	PARAM_ALPN,
	PARAM_VERSION,
	PARAM_CIPHER,
	PARAM_VERSION_AND_CIPHER,	/* the numbers of the protocol: version | cipher << 16 */
	PARAM_CIPHER_OBJECT,		/* never sent: an object whose name is queried next */
};

enum gap_cause {
	GAP_RING_FULL,
	GAP_READ_FAULT,
	GAP_SENDFILE,
	GAP_SNAPLEN,
	GAP_LONG_CALL,
};

/* Counters of calls, bytes, and every possible failure in the kernel. */
enum counter {
	COUNT_CALLS,			/* calls that handed over bytes */
	COUNT_BYTES,			/* bytes of those calls */
	COUNT_RING_FULL,		/* data chunks that found no room in the ring */
	COUNT_CONTROL_RING_FULL,	/* other events that found no room in the ring */
	COUNT_CALL_TABLE_FULL,		/* calls not followed: too many in flight */
	COUNT_CONN_TABLE_FULL,		/* calls not recorded: too many connections */
	COUNT_CONN_TABLE_FULL_BYTES,	/* bytes of those calls */
	COUNT_DATA_READ_FAULT,		/* payload that could not be read */
	COUNT_LENGTH_READ_FAULT,	/* byte counts that could not be read; size unknown */
	COUNT_NAME_READ_FAULT,		/* names set or queried that could not be read */
	COUNT_OBJECT_READ_FAULT,	/* new objects whose address could not be read */
	COUNT_LAYER_READ_FAULT,		/* NSPR descriptors whose layers could not be read */
	COUNT_SOCKET_READ_FAULT,	/* descriptors that could not be followed to a socket */
	COUNT_THREAD_TABLE_FULL,	/* calls whose socket could not be searched for */
	COUNT_PID_TABLE_FULL,		/* children not followed */
	COUNT_TLS_PID_TABLE_FULL,	/* processes whose end will not be noticed */
	COUNT_CLOSE_TABLE_FULL,		/* closes missing for good */
	COUNT_UNKNOWN_SITE,		/* probe hits that match no known site */
	COUNT_IMPOSSIBLE_RESULT,	/* calls that returned more bytes than requested */
	COUNT_NOT_LOOKED_THROUGH,	/* processes not stopped: unreadable mappings */
	COUNT_GOROUTINE_READ_FAULT,	/* Go: calls whose goroutine could not be read */
	COUNT_READ_AFTER_CLOSE,		/* Go: calls that ended after the Conn was closed */
	COUNTERS,
};

/*
 * A connection is one TLS object of one process between two uses of its address: pid, ssl and
 * born_ns together identify it. EVENT_EXEC and EVENT_EXIT describe a process, consist of this head
 * only, and leave ssl and born_ns 0.
 */
struct event {
	__u8 kind;			/* enum event_kind */
	__u8 dir;			/* data and gaps: enum direction */
	__u16 func;			/* index into the recorder's table of functions */
	__u32 pid;
	__u32 tid;
	__u32 len;			/* bytes of payload in use */
	__u64 ts_ns;
	__u64 ssl;			/* address of the object, see object_of() */
	__u64 born_ns;
};

/*
 * The places of data and gaps in both streams, by enum direction: in the event's own stream that of
 * its first byte, and in the other stream its length at this time. All events up to there are in
 * the ring before this event, or found no room.
 */
struct event_data {
	struct event head;
	__u64 offset[2];
	__u64 lat_ns;
	__u64 call_len;
	__u64 call_offset;
	/* head.len bytes follow */
};

struct event_gap {
	struct event head;
	__u64 offset[2];
	__u64 len;
	__u32 cause;			/* enum gap_cause */
	__u32 pad;
};

/* Addresses as the kernel keeps them: bytes in network order, ports in host order. */
struct endpoints {
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u16 family;			/* AF_INET, AF_INET6, or 0: unknown */
	__u16 inferred;			/* see infer_addr.h */
};

/* All known facts about a connection; sent again whenever there are more. */
struct event_conn {
	struct event head;
	struct endpoints ends;
	__u32 uid;
	__u16 lib;			/* index into the recorder's list of probed files */
	__u8 role;			/* enum role */
	__u8 joined;			/* the first thing seen of it was data, not a handshake */
	char comm[COMM_LEN];		/* of the process, not of the thread */
};

/* The value of a TLS parameter: a text or a number. */
struct event_tls_param {
	struct event head;
	__u64 number;			/* 0 if the value is a text */
	__u32 param;			/* enum tls_param */
	__u32 pad;
	char text[NAME_LEN];		/* head.len bytes, no NUL */
};

/* A handshake that succeeded, or that had not succeeded when its object was released. */
struct event_handshake {
	struct event head;
	__u64 lat_ns;			/* from the first handshake call to the end of the last */
	__s32 result;			/* of the last call */
	__u32 ok;
};

/* Repeats the connection, in case no EVENT_CONN found room. */
struct event_close {
	struct event_conn conn;
	__u64 offset[2];		/* by enum direction: final lengths of both streams */
	__u32 shutdown;			/* the program sent close_notify */
	__u32 pad;
};

/*
 * The beginning of the bytes of an operation on a socket that carries TLS, one of the first in its
 * direction. The head's ssl is the address of the socket, and born_ns the time at which it was
 * first seen; the socket belongs to the process of the head.
 */
struct event_piece {
	struct event head;
	struct endpoints ends;
	char comm[COMM_LEN];		/* of the process, not of the thread */
	/* head.len bytes follow */
};

/*
 * EVENT_DATAGRAM is an event_piece, too: a datagram that begins with an Initial or Retry packet of
 * QUIC. Its remote address is unknown (0) if it was received by a socket without a fixed peer.
 */

/* The most bytes of an event_piece, and those of the smaller size class. A call may send several
 * datagrams from one buffer, and a ClientHello takes two. */
#define DATAGRAM_MAX 4096
#define PIECE_MAX 2048
#define PIECE_SMALL 64

/* The end of such a socket. */
struct event_socket_end {
	struct event head;
	__u64 bytes[2];			/* by enum direction, as they were on the socket */
};

/* The kind of a probed function, from the recorder's table of functions. A single set of programs
 * serves every function of every library. "obj" identifies the connection. */
enum site_kind {
	SITE_NONE,
	SITE_DATA,			/* (obj, buf, n, ...): bytes went one way */
	SITE_FLUSH,			/* (obj): passes on bytes that were counted before */
	SITE_SENDFILE,			/* (obj, ...): result bytes went out; a gap, except for
					 * those that inner calls carried */
	SITE_HANDSHAKE,			/* (obj): `success` is success */
	SITE_CREATE,			/* constructor: `output` is the new object */
	SITE_GET,			/* (obj, ...): getter: `output` is the value of `param` */
	SITE_ROLE,			/* (obj): a connection begins, in `role` if that is set */
	SITE_SET_FD,			/* (obj, fd) */
	SITE_CTRL,			/* (obj, cmd, larg, parg): may set the server name */
	SITE_SERVER_NAME,		/* (obj, ...): sets the server name, argument `text_arg` */
	SITE_SHUTDOWN,			/* (obj): sends close_notify */
	SITE_FREE,			/* (obj): drops a reference */
	SITE_CLEAR,			/* (obj): ready for another connection */
	SITE_UP_REF,			/* (obj): one more reference */
};

/* Place of the output of a constructor or getter after its return. */
enum site_output {
	OUTPUT_NONE,
	OUTPUT_NUMBER,			/* the result */
	OUTPUT_TEXT,			/* the result: char * */
	OUTPUT_FIRST,			/* *first argument: a pointer */
	OUTPUT_DATUM,			/* *second argument: a pointer, and a length of 4 bytes */
	OUTPUT_POINTER,			/* *second argument: a pointer; *third: its length */
	OUTPUT_BUFFER,			/* second argument: char *; *third: its length */
	OUTPUT_CHANNEL,			/* second argument: SSLChannelInfo * of NSS */
};

/* Place of a function's result at an exit site. */
enum site_result {
	RESULT_AX,
	RESULT_BX,
	RESULT_BP,
	RESULT_R12,
	RESULT_R13,
	RESULT_R14,
	RESULT_R15,
	RESULT_STACK,			/* at `slot` */
	RESULT_GUARDED,			/* at `slot` if ax, as an int, is positive; else in ax */
};

enum site_flag {
	SITE_NSPR = 1,			/* (fd, ...) of NSPR, which may not be TLS */
	SITE_VECTOR = 2,		/* the buffer is an array of n buffers */
	SITE_PEEKS = 4,			/* MSG_PEEK may be among the flags, the fourth argument */
	SITE_NSPR_LAYER = 8,		/* returns a descriptor of NSPR that is TLS */
	SITE_TYPED = 16,		/* Go: a TLS record type comes before the buffer */
	SITE_PACKET = 32,		/* GnuTLS: the buffer receives the address of a packet */
	SITE_FD_POINTER = 64,		/* the descriptor is a pointer, not an int */
	SITE_WRAPS = 128,		/* calls other probed functions on its object */
};

/*
 * If placed sites of a file could not be tested before the recording, they run beside an entry and
 * a return probe on the same function. The probes record, and the sites are compared with them.
 * Once this many successful calls agreed, and none ever disagreed, the sites record; see trial.h.
 */
enum trial_limit {
	TRIAL_CALLS = 32,
	TRIALS_MAX = 2048,		/* functions on trial, and an unused first entry */
};

/* The part of a trial that a site belongs to. */
enum trial_side {
	TRIAL_BOTH,			/* records whatever the outcome */
	TRIAL_PLACED,			/* records once the trial has passed */
	TRIAL_UNPLACED,			/* records until then */
};

/* One function of one file on trial. */
struct trial {
	__u32 agreed;			/* successful calls that the sites reported as the return did */
	__u32 disagreed;		/* calls that the sites reported otherwise, or missed */
	__u32 leaving;			/* calls between an exit site that did not record and their
					 * return, which needs its probe */
	__u32 pad;
};

/*
 * A probe site: a place in the code. The attach cookie of a probe is the index of its site in the
 * map `sites`; 0 means no site. Not every site is at the beginning of its function: see
 * recorder/src/placement.
 */
struct site {
	__u16 func;			/* index into the table of functions */
	__u16 lib;			/* index into the list of probed files */
	__u8 kind;			/* enum site_kind */
	__u8 role;			/* enum role */
	__u8 dir;			/* enum direction */
	__u8 count_arg;			/* data: number of the argument that points to the byte
					 * count, and a result > 0 is success; 0: the result is
					 * the count */
	__u8 result_64;			/* the byte count and the result have 64 bits, not 32 */
	__u8 result;			/* exit sites: enum site_result */
	__u8 success;			/* handshakes: the result that means success */
	__u8 text_arg;			/* number of the argument that is a text */
	__u8 text_len_arg;		/* number of the argument that is its length; 0: it ends
					 * with a NUL */
	__u8 param;			/* enum tls_param */
	__u8 output;			/* enum site_output */
	__u8 flags;			/* enum site_flag */
	__u32 frame;			/* bytes from the stack pointer here up to that at entry */
	__u32 slot;			/* bytes from the stack pointer here up to the result */
	__u16 trial;			/* index into `trials`; 0: not on trial */
	__u8 trial_side;		/* enum trial_side */
	__u8 pad;
};

/* Identifies a file on both sides. */
struct file_key {
	__u64 inode;
	__u32 dev;			/* as the kernel keeps it: major << 20 | minor */
	__u32 pad;
};

/* The first few ports that a recorded process connected to or listened on; 0 is unused. */
#define USER_PORTS 4

struct tcp_user {
	__u16 ports[USER_PORTS];
};

/* Sent through a separate ring: a process was stopped because it has mapped this file, which the
 * recorder has not inspected. There may be more such files. */
struct event_stop {
	__u64 ts_ns;
	struct file_key file;
	__u32 pid;
	__u32 pad;
};

/* Offsets of the fields of a Go Conn that a handshake sets, in one probed file; 0: unknown. */
struct go_layout {
	__u32 server_name;
	__u32 alpn;
	__u32 version;
	__u32 cipher;
};

/* The socket operations that the kernel side receives. */
enum sockets_seen {
	SOCKETS_NONE,
	SOCKETS_THAT_RECEIVE,		/* operations that returned bytes */
	SOCKETS_ALL,
};

/* Read-only data, set by the recorder before load. */
struct settings {
	__u64 snaplen;			/* bytes kept of a call; 0 means all */
	__u64 ring_size;
	__u64 ring_headroom;		/* bytes of the ring reserved for events other than data */
	__u32 pid_ns_ino;		/* the recorder's pid namespace; 0: the first one */
	__u8 filter_pids;		/* only processes in the map `pids` */
	__u8 filter_uids;		/* only users in `uids` */
	__u8 filter_comms;		/* only names in `comms` */
	__u8 follow_children;		/* children of processes in `pids` join them */
	__u8 have_cookie;		/* bpf_get_attach_cookie exists: kernel 5.15 */
	__u8 filter_cgroups;		/* only processes below the first so many of `cgroups` */
	__u8 have_task_vma;		/* mappings can be walked: kernel 6.7 */
	__u8 pad[5];
};

_Static_assert(sizeof(struct event) == 40, "event");
_Static_assert(sizeof(struct event_data) == 80, "event_data");
_Static_assert(sizeof(struct event_gap) == 72, "event_gap");
_Static_assert(sizeof(struct endpoints) == 40, "endpoints");
_Static_assert(sizeof(struct event_conn) == 104, "event_conn");
_Static_assert(sizeof(struct event_tls_param) == 312, "event_tls_param");
_Static_assert(sizeof(struct event_handshake) == 56, "event_handshake");
_Static_assert(sizeof(struct event_close) == 128, "event_close");
_Static_assert(sizeof(struct event_piece) == 96, "event_piece");
_Static_assert(sizeof(struct event_socket_end) == 56, "event_socket_end");
_Static_assert(sizeof(struct site) == 28, "site");
_Static_assert(sizeof(struct trial) == 16, "trial");
_Static_assert(sizeof(struct file_key) == 16, "file_key");
_Static_assert(sizeof(struct event_stop) == 32, "event_stop");
_Static_assert(sizeof(struct tcp_user) == 8, "tcp_user");
_Static_assert(sizeof(struct go_layout) == 16, "go_layout");
_Static_assert(sizeof(struct settings) == 40, "settings");

#endif
