//! The machine for which the recorder is built: registers, breakpoint rules, the linker's stubs and
//! the loader's folders. `bpf/arch.h` is its counterpart on the kernel side.
//!
//! Another machine needs a module like [`x86_64`], its part of `bpf/arch.h`, and decoders beside
//! those of `placement` and `symbols/go/code`, which read x86-64 instructions.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("sslrec records on x86-64 only; sslanalyze reads its files anywhere");

mod x86_64;

pub(crate) use self::x86_64::emulated::{Treatment, is_refused};
pub(crate) use self::x86_64::registers::{
    ARGUMENTS, GO_GOROUTINE, GO_RESULT, GO_SCRATCH, RESULT, Reg, STACK_POINTER,
};
pub(crate) use self::x86_64::{ELF, HARDWARE_FOLDERS, LIBRARY_FOLDERS, stub_slot};
