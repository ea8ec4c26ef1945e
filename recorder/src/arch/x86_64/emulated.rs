//! The cost of a uprobe on an instruction.
//!
//! The rules are those of `arch/x86/kernel/uprobes.c`: branches and the short `nop` are emulated
//! since Linux 3.16, `push` since 4.16, and 5.8 is the oldest kernel that runs the recorder.
//! Instructions that only later kernels emulate do not count. This file reads an instruction's
//! bytes and nothing else; other modules decide whether a probe there is useful.

/// The kernel's treatment of an instruction once its probe has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// Its effect is computed in the trap.
    Emulated,
    /// A relative call. Also emulated, but older kernels do not put the return address on the
    /// shadow stack of a program that has one, so that the called function cannot return.
    EmulatedCall,
    /// A copy is single-stepped, or the kernel refuses to put a probe there at all.
    Other,
}

impl Treatment {
    /// Classifies a complete instruction.
    ///
    /// The only accepted prefix makes `push` reach r8 to r15. The kernel refuses branches with an
    /// operand-size prefix (`branch_setup_xol_ops` returns ENOTSUPP), and any instruction with LOCK
    /// or a segment prefix other than FS and GS (`is_prefix_bad`). 0x90 with REX.B exchanges r8
    /// with rax, which the kernel takes for a no-operation. The long forms of `nop` are emulated by
    /// recent kernels only.
    pub(crate) fn of(instruction: &[u8]) -> Self {
        match *instruction {
            // push_setup_xol_ops: one byte, or two with exactly 0x41.
            [0x50..=0x57] | [0x41, 0x50..=0x57] => Self::Emulated,
            // branch_setup_xol_ops: no-operation, jumps near and short, conditional or not.
            [0x90] | [0xeb, _] | [0xe9, _, _, _, _] => Self::Emulated,
            [0x70..=0x7f, _] | [0x0f, 0x80..=0x8f, _, _, _, _] => Self::Emulated,
            [0xe8, _, _, _, _] => Self::EmulatedCall,
            _ => Self::Other,
        }
    }

    /// Returns whether the trap ends without a single step.
    pub(crate) fn is_emulated(self) -> bool {
        self != Self::Other
    }
}

/// Returns whether the kernel refuses a probe on the instruction that begins here, because of a
/// prefix (`is_prefix_bad`). Assemblers use such prefixes as padding, before instructions that do
/// not need them (`-mbranches-within-32B-boundaries`).
pub(crate) fn is_refused(code: &[u8]) -> bool {
    let is_prefix =
        |byte: &&u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
    let mut prefixes = code.iter().take_while(is_prefix);
    prefixes.any(|byte| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0xf0))
}

#[cfg(test)]
mod tests {
    use super::{Treatment, is_refused};

    #[test]
    fn instructions_with_a_segment_prefix_or_lock_are_refused() {
        // Padded pushes of two builds of s2n, and a lock.
        for code in [&[0x2e, 0x2e, 0x2e, 0x2e, 0x41, 0x54][..], &[0x2e, 0x53], &[0x66, 0xf0, 0x01]]
        {
            assert!(is_refused(code), "{code:x?}");
        }
        // push; endbr64; a load by FS; a number with such a byte.
        for code in [&[0x41, 0x54][..], &[0xf3, 0x0f, 0x1e], &[0x64, 0x8b], &[0x6a, 0x2e], &[]] {
            assert!(!is_refused(code), "{code:x?}");
        }
    }

    #[test]
    fn pushes_of_registers_are_emulated() {
        assert_eq!(Treatment::of(&[0x55]), Treatment::Emulated);
        assert_eq!(Treatment::of(&[0x41, 0x57]), Treatment::Emulated);
        // push $1; push (%rax); push %rax with REX.W; push %ax.
        for other in [&[0x6a, 0x01][..], &[0xff, 0x30], &[0x48, 0x50], &[0x66, 0x50]] {
            assert_eq!(Treatment::of(other), Treatment::Other, "{other:x?}");
        }
    }

    #[test]
    fn relative_branches_are_emulated() {
        for jump in [&[0xeb, 0][..], &[0xe9, 0, 0, 0, 0], &[0x78, 5], &[0x0f, 0x8f, 0, 0, 0, 0]] {
            assert_eq!(Treatment::of(jump), Treatment::Emulated, "{jump:x?}");
        }
        assert_eq!(Treatment::of(&[0xe8, 0, 0, 0, 0]), Treatment::EmulatedCall);
    }

    #[test]
    fn branches_with_prefixes_by_register_or_by_counter_are_not() {
        for other in [
            &[0x66, 0xe9, 0, 0, 0, 0][..],
            &[0x66, 0x0f, 0x84, 0, 0, 0, 0],
            &[0x66, 0xe8, 0, 0, 0, 0],
            &[0x2e, 0x74, 0],
            &[0xf2, 0xe9, 0, 0, 0, 0],
            &[0xff, 0xe0],
            &[0xff, 0xd0],
            &[0xe2, 0],
            &[0xe3, 0],
            &[0xc3],
        ] {
            assert_eq!(Treatment::of(other), Treatment::Other, "{other:x?}");
        }
    }

    #[test]
    fn only_the_plain_nop_is_emulated() {
        assert_eq!(Treatment::of(&[0x90]), Treatment::Emulated);
        for other in [
            &[0x66, 0x90][..],
            &[0xf3, 0x90],
            &[0x41, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0xf3, 0x0f, 0x1e, 0xfa],
        ] {
            assert_eq!(Treatment::of(other), Treatment::Other, "{other:x?}");
        }
    }
}
