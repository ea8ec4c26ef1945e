//! The self-test's child process. It loads the library that is its standard input, and lets two TLS
//! objects communicate over memory according to the script. Its standard output is a socket: the
//! child reports each call that transferred bytes, and receives a line before each step.

use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;

use anyhow::{Context, Result, bail};
use libloading::{Library, Symbol};

use super::sandbox;
use super::script::{Direction, rounds};
use crate::proc::own;

/// An object of the library.
type Object = *mut c_void;

/// The functions of the library that the test calls. The types are those of OpenSSL's headers,
/// the same in all its versions and relatives.
struct Api<'lib> {
    tls_method: Symbol<'lib, unsafe extern "C" fn() -> Object>,
    ctx_new: Symbol<'lib, unsafe extern "C" fn(Object) -> Object>,
    ctx_ctrl: Symbol<'lib, unsafe extern "C" fn(Object, c_int, c_long, Object) -> c_long>,
    ctx_set_cipher_list: Symbol<'lib, unsafe extern "C" fn(Object, *const c_char) -> c_int>,
    new: Symbol<'lib, unsafe extern "C" fn(Object) -> Object>,
    new_bio_pair:
        Symbol<'lib, unsafe extern "C" fn(*mut Object, usize, *mut Object, usize) -> c_int>,
    set_bio: Symbol<'lib, unsafe extern "C" fn(Object, Object, Object)>,
    set_connect_state: Symbol<'lib, unsafe extern "C" fn(Object)>,
    set_accept_state: Symbol<'lib, unsafe extern "C" fn(Object)>,
    do_handshake: Symbol<'lib, unsafe extern "C" fn(Object) -> c_int>,
    read: Symbol<'lib, unsafe extern "C" fn(Object, *mut u8, c_int) -> c_int>,
    write: Symbol<'lib, unsafe extern "C" fn(Object, *const u8, c_int) -> c_int>,
    /// Since OpenSSL 1.1.1.
    read_ex:
        Option<Symbol<'lib, unsafe extern "C" fn(Object, *mut u8, usize, *mut usize) -> c_int>>,
    write_ex:
        Option<Symbol<'lib, unsafe extern "C" fn(Object, *const u8, usize, *mut usize) -> c_int>>,
    free: Symbol<'lib, unsafe extern "C" fn(Object)>,
}

/// `openssl/ssl.h`: the same numbers since they were introduced.
const SSL_CTRL_SET_ECDH_AUTO: c_int = 94;
const SSL_CTRL_SET_DH_AUTO: c_int = 118;
const SSL_CTRL_SET_MIN_PROTO_VERSION: c_int = 123;
const SSL_CTRL_SET_MAX_PROTO_VERSION: c_int = 124;
const TLS1_2_VERSION: c_long = 0x0303;

/// Key agreement without certificates, so that none need be created. These ciphers end with TLS
/// 1.2.
const CIPHERS: &CStr = c"aNULL:@SECLEVEL=0";
/// For versions without security levels.
const OLD_CIPHERS: &CStr = c"aNULL";

/// Turns for each end of a handshake; it takes three.
const HANDSHAKE_TURNS: usize = 10;

/// Memory between the ends: more than a round's bytes and their records' heads.
const BIO_SIZE: usize = 64 << 10;

/// Runs the test and reports the outcome on standard output.
pub(crate) fn run() -> Result<u8> {
    let confined = sandbox::enter()?;
    let socket = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut recorder = Recorder { input: BufReader::new(socket.try_clone()?), output: socket };
    if let Some(line) = confined.announcement() {
        recorder.output.write_all(line.as_bytes())?;
    }
    recorder.wait()?;
    let result = confined.close().and_then(|()| talk(&mut recorder));
    if let Err(error) = &result {
        recorder.message(&format!("failed: {error:#}"))?;
    }
    Ok(u8::from(result.is_err()))
}

/// The other end of standard output.
struct Recorder {
    input: BufReader<UnixStream>,
    output: UnixStream,
}

impl Recorder {
    fn wait(&mut self) -> Result<()> {
        if self.input.read_line(&mut String::new())? == 0 {
            bail!("the recorder has ended");
        }
        Ok(())
    }

    fn message(&mut self, line: &str) -> io::Result<()> {
        self.output.write_all(format!("{line}\n").as_bytes())
    }
}

fn talk(recorder: &mut Recorder) -> Result<()> {
    // SAFETY: loading runs the library's initialisers, as in any program that uses it. The recorder
    // has checked the file, and this process is confined and has nothing to lose.
    let library = unsafe { Library::new(own::STDIN) }.context("cannot be loaded")?;
    let api = Api::of(&library)?;
    let (client, server) = api.pair()?;
    api.handshake(client, server)?;
    recorder.message("ready")?;
    for round in rounds() {
        recorder.wait()?;
        let (sender, receiver) = match round.direction {
            Direction::ToServer => (client, server),
            Direction::ToClient => (server, client),
        };
        let mut calls = Calls { api: &api, ex: round.ex, lines: Vec::new() };
        calls.failing(sender, receiver)?;
        let bytes = round.bytes();
        calls.write(sender, &bytes)?;
        if calls.read(receiver, bytes.len())? != bytes {
            bail!("the received bytes differ from the sent bytes");
        }
        recorder.message(&calls.lines.join(","))?;
    }
    recorder.wait()?;
    for object in [client, server] {
        // SAFETY: created by SSL_new, and not used afterwards.
        unsafe { (api.free)(object) };
    }
    Ok(())
}

impl<'lib> Api<'lib> {
    fn of(library: &'lib Library) -> Result<Self> {
        /// Returns a function of the library.
        ///
        /// # Safety
        /// It must have the type that the caller expects.
        unsafe fn get<'lib, T>(library: &'lib Library, name: &str) -> Result<Symbol<'lib, T>> {
            // SAFETY: the caller's.
            unsafe { library.get(name.as_bytes()) }.with_context(|| format!("has no {name}"))
        }
        // SAFETY: the types are those of the library, see the fields.
        unsafe {
            Ok(Self {
                tls_method: get(library, "TLS_method")
                    .or_else(|_| get(library, "SSLv23_method"))?,
                ctx_new: get(library, "SSL_CTX_new")?,
                ctx_ctrl: get(library, "SSL_CTX_ctrl")?,
                ctx_set_cipher_list: get(library, "SSL_CTX_set_cipher_list")?,
                new: get(library, "SSL_new")?,
                new_bio_pair: get(library, "BIO_new_bio_pair")?,
                set_bio: get(library, "SSL_set_bio")?,
                set_connect_state: get(library, "SSL_set_connect_state")?,
                set_accept_state: get(library, "SSL_set_accept_state")?,
                do_handshake: get(library, "SSL_do_handshake")?,
                read: get(library, "SSL_read")?,
                write: get(library, "SSL_write")?,
                read_ex: get(library, "SSL_read_ex").ok(),
                write_ex: get(library, "SSL_write_ex").ok(),
                free: get(library, "SSL_free")?,
            })
        }
    }

    /// Returns a client and a server with memory between them.
    fn pair(&self) -> Result<(Object, Object)> {
        let (mut client_end, mut server_end) = (null_mut(), null_mut());
        // SAFETY: as in OpenSSL's manual pages: each object is checked before it is used, and the
        // objects take ownership of the ends of the pair.
        unsafe {
            let ctx = (self.ctx_new)((self.tls_method)());
            if ctx.is_null() {
                bail!("SSL_CTX_new failed");
            }
            // A missing command is not needed.
            for (command, value) in [
                (SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION),
                (SSL_CTRL_SET_MAX_PROTO_VERSION, TLS1_2_VERSION),
                (SSL_CTRL_SET_ECDH_AUTO, 1),
                (SSL_CTRL_SET_DH_AUTO, 1),
            ] {
                (self.ctx_ctrl)(ctx, command, value, null_mut());
            }
            if [CIPHERS, OLD_CIPHERS]
                .iter()
                .all(|ciphers| (self.ctx_set_cipher_list)(ctx, ciphers.as_ptr()) != 1)
            {
                bail!("has no ciphers without certificates");
            }
            let (client, server) = ((self.new)(ctx), (self.new)(ctx));
            let made = (self.new_bio_pair)(&mut client_end, BIO_SIZE, &mut server_end, BIO_SIZE);
            if client.is_null() || server.is_null() || made != 1 {
                bail!("SSL_new or BIO_new_bio_pair failed");
            }
            (self.set_bio)(client, client_end, client_end);
            (self.set_bio)(server, server_end, server_end);
            (self.set_connect_state)(client);
            (self.set_accept_state)(server);
            Ok((client, server))
        }
    }

    fn handshake(&self, client: Object, server: Object) -> Result<()> {
        for _ in 0..HANDSHAKE_TURNS {
            // SAFETY: both are objects of `pair`.
            let done = unsafe { [(self.do_handshake)(client), (self.do_handshake)(server)] };
            if done == [1, 1] {
                return Ok(());
            }
        }
        bail!("cannot make a connection without a certificate")
    }
}

/// The calls of a round.
struct Calls<'a> {
    api: &'a Api<'a>,
    ex: bool,
    /// A line for each call that transferred bytes: the function, and their number.
    lines: Vec<String>,
}

impl Calls<'_> {
    /// Makes calls that fail, each in a different way: none of them must be recorded.
    fn failing(&mut self, sender: Object, receiver: Object) -> Result<()> {
        let mut byte = [0];
        // SAFETY: the objects are those of `pair`; a negative length is refused before the buffer
        // is touched, and the other call has a buffer of one byte.
        let results = unsafe {
            [
                (self.api.write)(sender, byte.as_ptr(), -1),
                (self.api.read)(receiver, byte.as_mut_ptr(), -1),
                (self.api.read)(receiver, byte.as_mut_ptr(), 1),
            ]
        };
        if results.iter().any(|&result| result > 0) {
            bail!("a call that must fail succeeded");
        }
        Ok(())
    }

    fn write(&mut self, sender: Object, bytes: &[u8]) -> Result<()> {
        let mut written = 0;
        let (name, result) = match &self.api.write_ex {
            // SAFETY: an object of `pair`, and a buffer with its length.
            Some(write_ex) if self.ex => ("SSL_write_ex", unsafe {
                write_ex(sender, bytes.as_ptr(), bytes.len(), &mut written)
            }),
            _ => {
                // SAFETY: as above.
                let result = unsafe {
                    (self.api.write)(sender, bytes.as_ptr(), c_int::try_from(bytes.len())?)
                };
                written = usize::try_from(result).unwrap_or_default();
                ("SSL_write", result)
            }
        };
        if result <= 0 || written != bytes.len() {
            bail!("{name} wrote {written} of {} bytes", bytes.len());
        }
        self.lines.push(format!("{name} {written}"));
        Ok(())
    }

    /// Reads all bytes, in as many calls as necessary.
    fn read(&mut self, receiver: Object, len: usize) -> Result<Vec<u8>> {
        let mut all = Vec::with_capacity(len);
        // A larger buffer than needed: the test must depend on the result, not on the size of the
        // buffer.
        let mut buffer = vec![0; len + 100];
        while all.len() < len {
            let mut count = 0;
            let (name, result) = match &self.api.read_ex {
                // SAFETY: an object of `pair`, and a buffer with its length.
                Some(read_ex) if self.ex => ("SSL_read_ex", unsafe {
                    read_ex(receiver, buffer.as_mut_ptr(), buffer.len(), &mut count)
                }),
                _ => {
                    let size = c_int::try_from(buffer.len())?;
                    // SAFETY: as above.
                    let result = unsafe { (self.api.read)(receiver, buffer.as_mut_ptr(), size) };
                    count = usize::try_from(result).unwrap_or_default();
                    ("SSL_read", result)
                }
            };
            if result <= 0 || count == 0 || count > buffer.len() {
                bail!("{name} failed after {} of {len} bytes", all.len());
            }
            self.lines.push(format!("{name} {count}"));
            all.extend_from_slice(&buffer[..count]);
        }
        Ok(all)
    }
}
