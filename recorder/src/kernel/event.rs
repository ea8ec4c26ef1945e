//! Views of the bytes that the kernel side sends.
//!
//! The types are generated from `bpf/event.h`; bytes are converted into them only here.

use crate::kernel::skel::types;

/// An event, as stored in the ring or in a batch.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    Data(types::event_data, &'a [u8]),
    Gap(types::event_gap),
    Conn(types::event_conn),
    /// A TLS parameter that the program set or queried, and its text.
    TlsParam(types::event_tls_param, &'a [u8]),
    Handshake(types::event_handshake),
    Close(types::event_close),
    LateClose(types::event_close),
    /// Bytes of a socket that carries TLS.
    Piece(types::event_piece, &'a [u8]),
    /// The beginning of a QUIC connection, or of the answer to it.
    Datagram(types::event_piece, &'a [u8]),
    /// The end of such a socket.
    SocketEnd(types::event_socket_end),
    /// The process executes another image.
    Exec(types::event),
    /// The process has ended.
    Exit(types::event),
}

impl<'a> Event<'a> {
    /// Parses an event. `None` if the bytes are not an event, which only a mismatch between the two
    /// sides of this program could cause.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        use types::event_kind as kind;
        let head: types::event = view(bytes)?;
        Some(match types::event_kind(head.kind.into()) {
            kind::EVENT_DATA => {
                Self::Data(view(bytes)?, payload::<types::event_data>(bytes, &head)?)
            }
            kind::EVENT_GAP => Self::Gap(view(bytes)?),
            kind::EVENT_CONN => Self::Conn(view(bytes)?),
            kind::EVENT_TLS_PARAM => {
                let text = size_of::<types::event_tls_param>()
                    - types::event_tls_param::default().text.len();
                Self::TlsParam(view(bytes)?, bytes.get(text..text + head.len as usize)?)
            }
            kind::EVENT_HANDSHAKE => Self::Handshake(view(bytes)?),
            kind::EVENT_CLOSE => Self::Close(view(bytes)?),
            kind::EVENT_LATE_CLOSE => Self::LateClose(view(bytes)?),
            kind::EVENT_PIECE => {
                Self::Piece(view(bytes)?, payload::<types::event_piece>(bytes, &head)?)
            }
            kind::EVENT_DATAGRAM => {
                Self::Datagram(view(bytes)?, payload::<types::event_piece>(bytes, &head)?)
            }
            kind::EVENT_SOCKET_END => Self::SocketEnd(view(bytes)?),
            kind::EVENT_EXEC => Self::Exec(head),
            kind::EVENT_EXIT => Self::Exit(head),
            _ => return None,
        })
    }
}

/// Returns the used length of a ring entry: data is sent in size classes.
pub(crate) fn used_len(bytes: &[u8]) -> usize {
    match view::<types::event>(bytes) {
        Some(head) if u32::from(head.kind) == types::event_kind::EVENT_DATA.0 => {
            bytes.len().min(size_of::<types::event_data>() + head.len as usize)
        }
        _ => bytes.len(),
    }
}

/// Returns the process of an event.
pub(crate) fn pid_of(bytes: &[u8]) -> Option<u32> {
    view::<types::event>(bytes).map(|head| head.pid)
}

/// Returns the event of a process's end, as the kernel side would have sent it.
pub(crate) fn exit_event(pid: u32, ts_ns: u64) -> Vec<u8> {
    let kind = types::event_kind::EVENT_EXIT.0 as u8;
    bytes_of(&types::event { kind, pid, tid: pid, ts_ns, ..types::event::default() }).to_vec()
}

fn payload<'a, T>(bytes: &'a [u8], head: &types::event) -> Option<&'a [u8]> {
    bytes.get(size_of::<T>()..size_of::<T>() + head.len as usize)
}

/// Types that the kernel side sends or stores in maps. They consist of integers only, so that any
/// bytes of the right length are a valid value.
pub(crate) trait FromKernel: Copy {}

impl FromKernel for types::event {}
impl FromKernel for types::event_data {}
impl FromKernel for types::event_gap {}
impl FromKernel for types::event_conn {}
impl FromKernel for types::event_tls_param {}
impl FromKernel for types::event_handshake {}
impl FromKernel for types::event_close {}
impl FromKernel for types::event_piece {}
impl FromKernel for types::event_socket_end {}
impl FromKernel for types::seen_socket {}
impl FromKernel for types::conn {}
impl FromKernel for types::conn_key {}
impl FromKernel for types::comm_key {}
impl FromKernel for types::site_key {}
impl FromKernel for types::tls_layer {}
impl FromKernel for types::close_key {}
impl FromKernel for types::call {}
impl FromKernel for types::call_key {}
impl FromKernel for types::site {}
impl FromKernel for types::file_key {}
impl FromKernel for types::event_stop {}
impl FromKernel for types::tcp_user {}
impl FromKernel for types::go_layout {}

/// Returns the bytes of a value for one of the kernel side's maps.
pub(crate) fn bytes_of<T: FromKernel>(value: &T) -> &[u8] {
    // SAFETY: the bytes of a value that lives as long as the slice; `FromKernel` types consist of
    // integers only and declare their padding, so every byte is initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// Returns the value in the first bytes, if there are enough.
pub(crate) fn view<T: FromKernel>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: there are enough bytes, the read is unaligned, and `FromKernel` types consist of
    // integers only, for which every bit pattern is a value.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Returns a C string in a fixed array.
pub(crate) fn text(chars: &[i8]) -> String {
    let bytes: Vec<u8> =
        chars.iter().map(|&c| c.cast_unsigned()).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

// The other side asserts the same in `bpf/event.h`.
const _: () = {
    assert!(size_of::<types::event>() == 40);
    assert!(size_of::<types::event_data>() == 80);
    assert!(size_of::<types::event_gap>() == 72);
    assert!(size_of::<types::endpoints>() == 40);
    assert!(size_of::<types::event_conn>() == 104);
    assert!(size_of::<types::event_tls_param>() == 312);
    assert!(size_of::<types::event_handshake>() == 56);
    assert!(size_of::<types::event_close>() == 128);
    assert!(size_of::<types::event_piece>() == 96);
    assert!(size_of::<types::event_socket_end>() == 56);
    assert!(size_of::<types::site>() == 28);
    assert!(size_of::<types::trial>() == 16);
    assert!(size_of::<types::file_key>() == 16);
    assert!(size_of::<types::event_stop>() == 32);
    assert!(size_of::<types::tcp_user>() == 8);
    assert!(size_of::<types::go_layout>() == 16);
    assert!(size_of::<types::settings>() == 40);
};

#[cfg(test)]
mod tests {
    use super::*;

    fn data_event(len: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<types::event_data>()];
        bytes[0] = types::event_kind::EVENT_DATA.0 as u8;
        bytes[12..16].copy_from_slice(&len.to_ne_bytes());
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn a_data_event_ends_after_its_stated_length() {
        let bytes = data_event(3, b"abc and the rest of its size class");
        assert_eq!(used_len(&bytes), size_of::<types::event_data>() + 3);
        let Some(Event::Data(data, payload)) = Event::parse(&bytes) else { panic!() };
        assert_eq!((data.head.len, payload), (3, &b"abc"[..]));
    }

    #[test]
    fn a_length_beyond_the_bytes_is_refused() {
        assert!(Event::parse(&data_event(4, b"abc")).is_none());
    }

    #[test]
    fn a_constructed_exit_event_is_valid() {
        let bytes = exit_event(7, 99);
        assert_eq!(bytes.len(), size_of::<types::event>());
        let Some(Event::Exit(head)) = Event::parse(&bytes) else { panic!() };
        assert_eq!((head.pid, head.ts_ns), (7, 99));
    }

    #[test]
    fn cut_events_are_refused() {
        let bytes = data_event(3, b"abc");
        assert!((0..bytes.len()).all(|length| Event::parse(&bytes[..length]).is_none()));
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        assert!(Event::parse(&[0xff; 300]).is_none());
    }
}
