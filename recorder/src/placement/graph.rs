//! The instructions of one function, and every way through them.
//!
//! The graph is found by decoding from the first instruction along all branches, carrying a
//! [`State`] with the current size of the stack and the contents of the arguments' registers. It
//! may have more ways than the program can take, never fewer: a possible way that cannot be
//! followed is recorded as such, and rules out that the function's returns are covered.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use iced_x86::{
    Code, ConditionCode, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory,
    Mnemonic, OpKind, Register,
};

use super::symbolic::{Effect, State};
use super::{Image, Unplaced};
use crate::arch::Treatment;

/// The most instructions of one function. The largest probed function, `SSL_ctrl`, has about 500;
/// code that seems to have ten times as many is not a function.
const MAX_INSTRUCTIONS: usize = 5_000;

/// The most steps until all states are settled. A state can only lose knowledge, a few times at
/// each instruction, so only code that was never meant to be decoded reaches this limit.
const MAX_STEPS: usize = 20 * MAX_INSTRUCTIONS;

/// The prefix that makes operands 16 bits wide.
const OPERAND_SIZE: u8 = 0x66;

/// The most instructions over which a compiler spreads a jump by a table's entry.
const TABLE_JUMP: usize = 4;

/// The place of the canary: `%fs:0x28`, part of the ABI between compiler and C library.
const CANARY_OFFSET: u64 = 0x28;

/// The way in which an instruction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To its successors, all of them known.
    On,
    /// `ret`.
    Return,
    /// Nowhere: a trap, or a call that does not return.
    Stop,
    /// Into another function, which returns in this one's place. A conditional jump also continues.
    TailCall(u64),
    /// Into a function whose address is not in the code.
    IndirectTailCall,
    /// To one of several places that are not in the code.
    Table,
}

/// One instruction.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) instruction: Instruction,
    pub(super) treatment: Treatment,
    /// The state before it, in terms of the function's first instruction.
    pub(super) state: State,
    pub(super) way: Way,
    pub(super) successors: Vec<u64>,
    /// Whether it calls another function, or writes outside of the frame.
    pub(super) effect: Effect,
}

impl Node {
    pub(super) fn stack(&self) -> Option<i64> {
        self.state.stack()
    }

    /// Returns the bytes between rsp here and rsp at the function's first instruction, if known.
    pub(super) fn frame(&self) -> Option<u32> {
        self.stack().and_then(|offset| u32::try_from(-offset).ok())
    }
}

/// All instructions that one function may reach, by address.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) start: u64,
    pub(super) nodes: BTreeMap<u64, Node>,
}

impl Graph {
    /// Decodes a function.
    ///
    /// # Errors
    /// There is code that cannot be decoded or followed.
    pub(super) fn of(image: &Image<'_>, function: Range<u64>) -> Result<Self, Unplaced> {
        let mut search = Search {
            image,
            function: function.clone(),
            nodes: BTreeMap::new(),
            entered: BTreeMap::from([(function.start, State::at_entry())]),
            open: BTreeSet::from([function.start]),
            facts: InstructionInfoFactory::new(),
        };
        search.run()?;
        let graph = Self { start: function.start, nodes: search.nodes };
        graph.check_overlaps()?;
        graph.check_canary_failures(function.end)?;
        Ok(graph)
    }

    /// Returns the distance of an address from the function's first byte, for messages.
    pub(super) fn offset(&self, address: u64) -> i64 {
        address.wrapping_sub(self.start) as i64
    }

    /// Checks that no instructions overlap. A probe replaces the first byte of an instruction. If
    /// that byte were in the middle of another instruction, the program would execute wrong code.
    fn check_overlaps(&self) -> Result<(), Unplaced> {
        let mut end = 0;
        for (&address, node) in &self.nodes {
            if address < end {
                return Err(Unplaced::Overlap(self.offset(address)));
            }
            end = node.instruction.next_ip();
        }
        Ok(())
    }

    /// Checks that a presumed call of `__stack_chk_fail` has no other use.
    fn check_canary_failures(&self, end: u64) -> Result<(), Unplaced> {
        for (&address, node) in &self.nodes {
            let instruction = &node.instruction;
            let assumed = node.way == Way::Stop
                && matches!(
                    instruction.flow_control(),
                    FlowControl::Call | FlowControl::IndirectCall
                )
                && instruction.next_ip() != end;
            let misused = |branch: &Node| {
                branch.successors.contains(&address) && !fails_canary(&self.nodes, branch, address)
            };
            if assumed && self.nodes.values().any(misused) {
                return Err(Unplaced::Unsupported(self.offset(address)));
            }
        }
        Ok(())
    }
}

/// A graph under construction.
struct Search<'a> {
    image: &'a Image<'a>,
    function: Range<u64>,
    nodes: BTreeMap<u64, Node>,
    /// The state before each instruction that was found so far.
    entered: BTreeMap<u64, State>,
    /// Instructions to be decoded, for the first time or since their state has changed.
    open: BTreeSet<u64>,
    facts: InstructionInfoFactory,
}

impl Search<'_> {
    fn run(&mut self) -> Result<(), Unplaced> {
        for _ in 0..MAX_STEPS {
            let Some(address) = self.open.pop_first() else { return Ok(()) };
            let Some(state) = self.entered.get(&address).cloned() else { continue };
            let node = self.visit(address, state)?;
            let mut after = node.state.clone();
            after.step(&node.instruction, &mut self.facts);
            for &successor in &node.successors {
                self.enter(successor, &after);
            }
            self.nodes.insert(address, node);
            if self.nodes.len() > MAX_INSTRUCTIONS {
                return Err(Unplaced::TooLarge(MAX_INSTRUCTIONS));
            }
        }
        Err(Unplaced::TooLarge(MAX_INSTRUCTIONS))
    }

    /// Carries a state to an instruction.
    fn enter(&mut self, address: u64, state: &State) {
        let changed = match self.entered.get_mut(&address) {
            Some(known) => known.join(state),
            None => {
                self.entered.insert(address, state.clone());
                true
            }
        };
        if changed {
            self.open.insert(address);
        }
    }

    fn visit(&mut self, address: u64, state: State) -> Result<Node, Unplaced> {
        let (instruction, treatment) = self.decode(address)?;
        let (way, successors) = self.ways(&instruction, &state)?;
        let effect = state.clone().step(&instruction, &mut self.facts);
        Ok(Node { instruction, treatment, state, way, successors, effect })
    }

    fn decode(&self, address: u64) -> Result<(Instruction, Treatment), Unplaced> {
        let offset = self.offset(address);
        let bytes = self.image.at(address).ok_or(Unplaced::NoCode(offset))?;
        let instruction = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode();
        if instruction.is_invalid() {
            return Err(Unplaced::Undecodable(offset));
        }
        let jumps = matches!(
            instruction.flow_control(),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
        );
        // Processors of different makers jump to different places.
        if jumps && bytes.first() == Some(&OPERAND_SIZE) {
            return Err(Unplaced::Unsupported(offset));
        }
        Ok((instruction, Treatment::of(&bytes[..instruction.len()])))
    }

    /// Returns the successors of an instruction.
    fn ways(&self, instruction: &Instruction, state: &State) -> Result<(Way, Vec<u64>), Unplaced> {
        let refused = Err(Unplaced::Unsupported(self.offset(instruction.ip())));
        match instruction.flow_control() {
            FlowControl::Next if instruction.mnemonic() == Mnemonic::Hlt => {
                Ok((Way::Stop, Vec::new()))
            }
            FlowControl::Next => Ok((Way::On, vec![self.next(instruction)?])),
            FlowControl::Exception => Ok((Way::Stop, Vec::new())),
            FlowControl::Return if instruction.code() == Code::Retnq => {
                Ok((Way::Return, Vec::new()))
            }
            FlowControl::UnconditionalBranch if instruction.is_jmp_short_or_near() => {
                Ok(self.jump(instruction, state, None))
            }
            FlowControl::ConditionalBranch => {
                Ok(self.jump(instruction, state, Some(self.next(instruction)?)))
            }
            FlowControl::IndirectBranch if instruction.is_jmp_near_indirect() => {
                let leaves = state.stack() == Some(0) && !self.reads_table(instruction);
                Ok((if leaves { Way::IndirectTailCall } else { Way::Table }, Vec::new()))
            }
            FlowControl::Call if instruction.is_call_near() => {
                let target = instruction.near_branch_target();
                // A call to a place within the function is not a call but a way to read or change
                // rip, as in the sequences against speculation of indirect branches.
                if self.function.contains(&target) && target != self.function.start {
                    return refused;
                }
                Ok(self.after_call(instruction))
            }
            FlowControl::IndirectCall if instruction.is_call_near_indirect() => {
                Ok(self.after_call(instruction))
            }
            _ => refused,
        }
    }

    /// Handles a jump within the function, into a part of it that the compiler put elsewhere, or a
    /// tail call: the last needs a stack with only the return address left.
    fn jump(&self, instruction: &Instruction, state: &State, next: Option<u64>) -> (Way, Vec<u64>) {
        let target = instruction.near_branch_target();
        if !self.function.contains(&target) && state.stack() == Some(0) {
            return (Way::TailCall(target), next.into_iter().collect());
        }
        (Way::On, std::iter::once(target).chain(next).collect())
    }

    /// Returns whether an indirect jump seems to take its target from a table: it has an index, or
    /// adds the table's address to the value that it read right before. This matters where the
    /// stack is empty and it could be a tail call.
    fn reads_table(&self, jump: &Instruction) -> bool {
        let before = self.nodes.range(..jump.ip()).rev().take(TABLE_JUMP);
        let sums = before.map(|(_, node)| &node.instruction).any(|found| {
            found.mnemonic() == Mnemonic::Add && found.op0_register() == jump.op0_register()
        });
        jump.memory_index() != Register::None || (jump.op0_kind() == OpKind::Register && sums)
    }

    /// Handles the instruction after a call. A call that is the function's last instruction does
    /// not return, nor does the call after a damaged canary.
    fn after_call(&self, instruction: &Instruction) -> (Way, Vec<u64>) {
        let next = instruction.next_ip();
        if next == self.function.end || self.follows_canary_check(instruction.ip()) {
            return (Way::Stop, Vec::new());
        }
        (Way::On, vec![next])
    }

    fn next(&self, instruction: &Instruction) -> Result<u64, Unplaced> {
        let next = instruction.next_ip();
        if next == self.function.end {
            return Err(Unplaced::RunsOff(self.offset(instruction.ip())));
        }
        Ok(next)
    }

    /// Returns whether some branch leads to `address` because the canary has changed: a call there
    /// is then a call of `__stack_chk_fail`.
    fn follows_canary_check(&self, address: u64) -> bool {
        self.nodes.values().any(|branch| fails_canary(&self.nodes, branch, address))
    }

    fn offset(&self, address: u64) -> i64 {
        address.wrapping_sub(self.function.start) as i64
    }
}

/// Returns whether an instruction loads the canary or compares something with it.
fn reads_canary(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory)
        && instruction.memory_segment() == Register::FS
        && instruction.memory_base() == Register::None
        && instruction.memory_index() == Register::None
        && instruction.memory_displacement64() == CANARY_OFFSET
}

/// Returns whether a branch leads to `address` because the canary has changed.
fn fails_canary(nodes: &BTreeMap<u64, Node>, branch: &Node, address: u64) -> bool {
    let branch = &branch.instruction;
    let unequal = match branch.condition_code() {
        ConditionCode::ne => branch.near_branch_target(),
        ConditionCode::e => branch.next_ip(),
        _ => return false,
    };
    branch.is_jcc_short_or_near() && unequal == address && compares_canary(nodes, branch.ip())
}

/// Returns whether the instruction right before `branch` compares the canary with its copy in the
/// frame: as its operand, or by way of a register that the instruction before it loads.
fn compares_canary(nodes: &BTreeMap<u64, Node>, branch: u64) -> bool {
    let mut before = nodes.range(..branch).rev().map(|(_, node)| &node.instruction);
    let Some(compare) = before.next().filter(|found| found.next_ip() == branch) else {
        return false;
    };
    if !matches!(compare.mnemonic(), Mnemonic::Cmp | Mnemonic::Sub | Mnemonic::Xor) {
        return false;
    }
    if reads_canary(compare) {
        return true;
    }
    let Some(load) = before.next().filter(|found| found.next_ip() == compare.ip()) else {
        return false;
    };
    let canary = load.op0_register();
    load.mnemonic() == Mnemonic::Mov
        && canary != Register::None
        && reads_canary(load)
        && (compare.op0_register() == canary || compare.op1_register() == canary)
        && matches!(compare.memory_base(), Register::RSP | Register::RBP)
}
