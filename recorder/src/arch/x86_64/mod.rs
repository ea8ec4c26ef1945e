//! x86-64.

pub(super) mod emulated;
pub(super) mod registers;

use object::Architecture;

/// The architecture of files that can be probed. Arguments are found by its calling convention, so
/// 32-bit programs on a 64-bit machine cannot be recorded.
pub(crate) const ELF: Architecture = Architecture::X86_64;

/// The default folders of loaders: those of Debian, Red Hat and their derivatives, and others. They
/// matter without a cache, as in small container images.
pub(crate) const LIBRARY_FOLDERS: [&str; 6] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];

/// Subfolders in which glibc looks before the folder itself: the current ones, and those before
/// 2.37.
pub(crate) const HARDWARE_FOLDERS: [&str; 5] =
    ["glibc-hwcaps", "tls", "x86_64", "haswell", "avx512_1"];

/// Returns the address of the slot in the global offset table through which a stub of the procedure
/// linkage table at this address jumps: an optional `endbr64`, then `jmp *slot(%rip)`. `None` if
/// the code is not a stub.
pub(crate) fn stub_slot(code: &[u8], address: u64) -> Option<u64> {
    const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
    const BND: &[u8] = &[0xf2];
    const JMP_LEN: u64 = 6;
    let jump = code.strip_prefix(ENDBR64).unwrap_or(code);
    let jump = jump.strip_prefix(BND).unwrap_or(jump);
    let &[0xff, 0x25, a, b, c, d, ..] = jump else { return None };
    let next = address + (code.len() - jump.len()) as u64 + JMP_LEN;
    Some(next.wrapping_add_signed(i32::from_le_bytes([a, b, c, d]).into()))
}
