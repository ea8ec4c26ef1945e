//! The general registers, and their use by the calling conventions of C (System V) and of Go.

use iced_x86::Register;

use crate::kernel::skel::types::site_result;

/// The registers of integer arguments, in their order.
pub(crate) const ARGUMENTS: [Reg; 6] = [Reg::RDI, Reg::RSI, Reg::RDX, Reg::RCX, Reg::R8, Reg::R9];

/// The register of an integer result.
pub(crate) const RESULT: Reg = Reg::RAX;

/// The register of the first result in Go's register ABI, as named on the kernel side.
pub(crate) const GO_RESULT: site_result = site_result::RESULT_AX;

/// The register of the running goroutine in Go's register ABI.
pub(crate) const GO_GOROUTINE: Register = Register::R14;

/// The register that the prologue of a Go function may change.
pub(crate) const GO_SCRATCH: Register = Register::R12;

/// The stack pointer.
pub(crate) const STACK_POINTER: Register = Register::RSP;

/// One of the 16 general registers, by its number in the instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reg(u8);

impl Reg {
    pub(crate) const RAX: Self = Self(0);
    pub(crate) const RCX: Self = Self(1);
    pub(crate) const RDX: Self = Self(2);
    pub(crate) const RBX: Self = Self(3);
    pub(crate) const RSP: Self = Self(4);
    pub(crate) const RBP: Self = Self(5);
    pub(crate) const RSI: Self = Self(6);
    pub(crate) const RDI: Self = Self(7);
    pub(crate) const R8: Self = Self(8);
    pub(crate) const R9: Self = Self(9);
    pub(crate) const R12: Self = Self(12);
    pub(crate) const R13: Self = Self(13);
    pub(crate) const R14: Self = Self(14);
    pub(crate) const R15: Self = Self(15);

    const NAMES: [&'static str; 16] = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12",
        "r13", "r14", "r15",
    ];

    /// Returns all of them, in the order of their numbers.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..16).map(Self)
    }

    /// Returns its number, below 16: rax is 0, rcx 1, rdx 2, rbx 3, rsp 4, rbp 5, rsi 6, rdi 7,
    /// then r8 to r15.
    pub(crate) fn number(self) -> usize {
        self.0.into()
    }

    /// Returns its name for all 64 bits.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[usize::from(self.0)]
    }

    /// Returns whether a called function may change it.
    pub(crate) fn is_lost_in_calls(self) -> bool {
        // rax, rcx, rdx, rsi, rdi, r8 to r11.
        matches!(self.0, 0..=2 | 6..=11)
    }

    /// Returns the general register that contains all of `register`, if any.
    pub(crate) fn containing(register: Register) -> Option<Self> {
        let full = register.full_register();
        full.is_gpr64().then(|| Self(full.number() as u8))
    }

    /// Returns the general register that equals `register`, all 64 bits of it, if any.
    pub(crate) fn exactly(register: Register) -> Option<Self> {
        register.is_gpr64().then(|| Self(register.number() as u8))
    }

    /// Returns its name on the kernel side; `None` for registers that hold no result at any exit.
    pub(crate) fn site_result(self) -> Option<site_result> {
        Some(match self {
            Self::RAX => site_result::RESULT_AX,
            Self::RBX => site_result::RESULT_BX,
            Self::RBP => site_result::RESULT_BP,
            Self::R12 => site_result::RESULT_R12,
            Self::R13 => site_result::RESULT_R13,
            Self::R14 => site_result::RESULT_R14,
            Self::R15 => site_result::RESULT_R15,
            _ => return None,
        })
    }
}
