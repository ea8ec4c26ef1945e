//! The places to probe in the code of a Go function.
//!
//! Its entry is the jump in its prologue, which requests more stack if necessary:
//!
//! ```text
//! cmp  rsp, [r14+10h]        or lea r12, [rsp-128h] and cmp r12, [r14+10h]
//! jbe  more                  the entry: emulated by the kernel, and every argument is in place
//! ...
//! more: (spill arguments) call runtime.morestack (reload them) jmp start
//! ```
//!
//! If the jump is taken the function begins again afterwards, which the kernel side detects from
//! the flags. The prologue also proves that the function has the register ABI, since only there is
//! the goroutine in r14.
//!
//! Its exits are its RET instructions. Decoding from the first byte to the last finds all of them:
//! there is no data in Go's code, and a recovered panic leaves by a RET that no jump leads to.

use std::ops::Range;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};

use crate::arch::{GO_GOROUTINE, GO_SCRATCH, STACK_POINTER};

/// Offset in `runtime.g` of the limit that a prologue compares with.
const STACK_GUARD: u64 = 0x10;

/// Places, by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) entry: u64,
    pub(super) exits: Vec<u64>,
    /// The functions that it calls by their address.
    pub(super) calls: Vec<u64>,
}

/// Returns the places of the function with this code.
///
/// # Errors
/// A clause with the reason.
pub(super) fn places(code: &[u8], addresses: Range<u64>) -> Result<Places, String> {
    let mut decoder = Decoder::with_ip(64, code, addresses.start, DecoderOptions::NONE);
    let instructions: Vec<Instruction> = decoder.iter().collect();
    let entry = entry(&instructions).ok_or("does not begin as Go's functions do")?;
    let distance = |instruction: &Instruction| instruction.ip() - addresses.start;
    let mut places = Places { entry, exits: Vec::new(), calls: Vec::new() };
    for instruction in &instructions {
        match instruction.flow_control() {
            _ if instruction.is_invalid() => {
                return Err(format!("has an unknown instruction at +{:#x}", distance(instruction)));
            }
            FlowControl::Return => places.exits.push(instruction.ip()),
            FlowControl::Call => places.calls.push(instruction.near_branch_target()),
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                // Also shows that the code was decoded correctly: jumps lead to instructions.
                let target = instruction.near_branch_target();
                if instructions.binary_search_by_key(&target, Instruction::ip).is_err() {
                    return Err(format!("is left by a jump at +{:#x}", distance(instruction)));
                }
            }
            _ => {}
        }
    }
    if places.exits.is_empty() {
        return Err("never returns".into());
    }
    Ok(places)
}

/// Returns the jump in the prologue, if there is one.
fn entry(instructions: &[Instruction]) -> Option<u64> {
    // A frame too large for one subtraction takes a few more instructions.
    const PROLOGUE_MAX: usize = 8;
    let prologue = instructions.get(..PROLOGUE_MAX.min(instructions.len()))?;
    let compare = prologue.iter().position(is_stack_check)?;
    let jump = prologue.get(compare + 1)?;
    let is_jump = matches!(jump.code(), Code::Jbe_rel8_64 | Code::Jbe_rel32_64);
    (is_jump && !changes_arguments(&prologue[..compare])).then(|| jump.ip())
}

/// `cmp rsp, [r14+10h]` or `cmp r12, [r14+10h]`.
fn is_stack_check(instruction: &Instruction) -> bool {
    instruction.code() == Code::Cmp_r64_rm64
        && matches!(instruction.op0_register(), STACK_POINTER | GO_SCRATCH)
        && instruction.op1_kind() == OpKind::Memory
        && instruction.memory_base() == GO_GOROUTINE
        && instruction.memory_index() == Register::None
        && instruction.memory_displacement64() == STACK_GUARD
}

/// Returns whether these write to anything but r12 and flags.
fn changes_arguments(before: &[Instruction]) -> bool {
    before.iter().any(|instruction| match instruction.flow_control() {
        // To the call for more stack, if the frame would wrap around.
        FlowControl::ConditionalBranch => false,
        FlowControl::Next => {
            instruction.op0_kind() != OpKind::Register || instruction.op0_register() != GO_SCRATCH
        }
        _ => true,
    })
}
