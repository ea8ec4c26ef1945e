//! The contents of registers, in terms of their contents at some earlier point.
//!
//! A [`State`] begins with each register holding its own [`Source`] and is carried over one
//! instruction at a time, or joined with another where ways meet. It forgets freely: a value is
//! either proven or [`Value::Unknown`]. It relies on the System V calling convention for the
//! functions that are called, and on nothing else.
//!
//! Memory other than the function's own frame is not modelled. A slot of the frame is only followed
//! while it still has its initial value; a store through any other pointer is reported as an
//! [`Effect::Elsewhere`], and callers that query slots must not continue past such a store.

use std::collections::BTreeSet;

use iced_x86::{
    Code, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register, UsedMemory,
};

use crate::arch::Reg;

/// Something that had a value at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Register(Reg),
    /// The memory at this distance from rsp as it was at the function's first instruction.
    Slot(i64),
}

/// A known value of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Unknown,
    /// An address: this distance from rsp as it was at the function's first instruction.
    Frame(i64),
    /// All 64 bits of the initial value of a source.
    Whole(Source),
    /// The low 32 bits of the initial value of a source; the upper bits are unknown.
    Low(Source),
}

impl Value {
    /// Returns the common knowledge of two values.
    pub(super) fn join(self, other: Self) -> Self {
        match (self, other) {
            (one, two) if one == two => one,
            (Self::Whole(one), Self::Low(two)) | (Self::Low(one), Self::Whole(two))
                if one == two =>
            {
                Self::Low(one)
            }
            _ => Self::Unknown,
        }
    }

    /// Returns the remaining knowledge after all but the low 32 bits were replaced.
    fn low(self) -> Self {
        match self {
            Self::Whole(source) | Self::Low(source) => Self::Low(source),
            Self::Frame(_) | Self::Unknown => Self::Unknown,
        }
    }
}

/// The effect of an instruction outside registers and frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    /// A call, or a store to an unknown place.
    Elsewhere,
}

/// The known values at one point of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    registers: [Value; 16],
    /// Parts of the frame that were written since the start, from and to.
    overwritten: BTreeSet<(i64, i64)>,
}

impl State {
    /// Returns the state at a function's first instruction.
    pub(super) fn at_entry() -> Self {
        let mut state = Self::all_sources();
        state.set(Reg::RSP, Value::Frame(0));
        state
    }

    /// Returns a new start here: only the addresses within the frame remain known.
    pub(super) fn restarted(&self) -> Self {
        let mut state = Self::all_sources();
        for register in Reg::all() {
            if let Value::Frame(_) = self.value(register) {
                state.set(register, self.value(register));
            }
        }
        state
    }

    /// Returns each register as a source of its own, except for rsp: it only matters as an address.
    fn all_sources() -> Self {
        let mut state = Self { registers: [Value::Unknown; 16], overwritten: BTreeSet::new() };
        for register in Reg::all() {
            state.set(register, Value::Whole(Source::Register(register)));
        }
        state
    }

    pub(super) fn value(&self, register: Reg) -> Value {
        self.registers[register.number()]
    }

    /// Returns rsp now, less rsp at the function's first instruction. At most 0 in sane code.
    pub(super) fn stack(&self) -> Option<i64> {
        match self.value(Reg::RSP) {
            Value::Frame(offset) => Some(offset),
            _ => None,
        }
    }

    /// Keeps the common knowledge. Returns whether this state lost something.
    pub(super) fn join(&mut self, other: &Self) -> bool {
        let mut changed = false;
        for (mine, &theirs) in self.registers.iter_mut().zip(&other.registers) {
            let joined = mine.join(theirs);
            changed |= joined != *mine;
            *mine = joined;
        }
        let before = self.overwritten.len();
        self.overwritten.extend(&other.overwritten);
        changed || self.overwritten.len() != before
    }

    /// Carries the state over one instruction, for any successor.
    pub(super) fn step(
        &mut self,
        instruction: &Instruction,
        facts: &mut InstructionInfoFactory,
    ) -> Effect {
        match instruction.mnemonic() {
            Mnemonic::Call => return self.call(),
            Mnemonic::Push if instruction.stack_pointer_increment() == -8 => self.push(),
            Mnemonic::Pop if instruction.stack_pointer_increment() == 8 => {
                return self.pop(instruction, facts);
            }
            Mnemonic::Leave if instruction.code() == Code::Leaveq => self.leave(),
            Mnemonic::Mov | Mnemonic::Movsxd => return self.transfer(instruction, facts),
            Mnemonic::Cdqe => self.set(Reg::RAX, self.value(Reg::RAX).low()),
            Mnemonic::Lea | Mnemonic::Add | Mnemonic::Sub => {
                return self.arithmetic(instruction, facts);
            }
            _ => return self.forget(instruction, facts),
        }
        Effect::Nothing
    }

    fn set(&mut self, register: Reg, value: Value) {
        // With the return address popped the target of a `ret` is no longer certain.
        let popped = register == Reg::RSP && !matches!(value, Value::Frame(..=0));
        self.registers[register.number()] = if popped { Value::Unknown } else { value };
    }

    fn call(&mut self) -> Effect {
        for register in Reg::all().filter(|register| register.is_lost_in_calls()) {
            self.set(register, Value::Unknown);
        }
        Effect::Elsewhere
    }

    fn push(&mut self) {
        if let Some(stack) = self.stack() {
            self.overwritten.insert((stack - 8, stack));
            self.set(Reg::RSP, Value::Frame(stack - 8));
        }
    }

    fn pop(&mut self, instruction: &Instruction, facts: &mut InstructionInfoFactory) -> Effect {
        let Some(target) = Reg::exactly(instruction.op0_register()) else {
            return self.forget(instruction, facts);
        };
        let Some(stack) = self.stack() else { return self.forget(instruction, facts) };
        self.set(Reg::RSP, Value::Frame(stack + 8));
        // Into rsp itself: the value read, not the sum.
        self.set(target, self.slot(stack, 8));
        Effect::Nothing
    }

    /// rsp from rbp, then rbp from the stack.
    fn leave(&mut self) {
        let Value::Frame(frame) = self.value(Reg::RBP) else {
            self.set(Reg::RSP, Value::Unknown);
            self.set(Reg::RBP, Value::Unknown);
            return;
        };
        self.set(Reg::RSP, Value::Frame(frame + 8));
        self.set(Reg::RBP, self.slot(frame, 8));
    }

    /// Handles `mov` and `movslq`, with 32 or 64 bits.
    fn transfer(
        &mut self,
        instruction: &Instruction,
        facts: &mut InstructionInfoFactory,
    ) -> Effect {
        let target = instruction.op0_register();
        if instruction.op0_kind() != OpKind::Register || !(target.is_gpr64() || target.is_gpr32()) {
            return self.forget(instruction, facts);
        }
        let Some(register) = Reg::containing(target) else {
            return self.forget(instruction, facts);
        };
        let value = match instruction.op1_kind() {
            OpKind::Register => {
                let source = instruction.op1_register();
                match Reg::containing(source) {
                    Some(from) if source.is_gpr64() => self.value(from),
                    Some(from) if source.is_gpr32() => self.value(from).low(),
                    _ => Value::Unknown,
                }
            }
            OpKind::Memory => match (self.address(instruction), instruction.memory_size().size()) {
                (Some(offset), 8) => self.slot(offset, 8),
                (Some(offset), 4) => self.slot(offset, 4).low(),
                _ => Value::Unknown,
            },
            _ => Value::Unknown,
        };
        self.set(register, value);
        Effect::Nothing
    }

    /// Handles `lea`, `add` and `sub`, as far as they compute addresses within the frame.
    fn arithmetic(
        &mut self,
        instruction: &Instruction,
        facts: &mut InstructionInfoFactory,
    ) -> Effect {
        let target = match instruction.op0_kind() {
            OpKind::Register => Reg::exactly(instruction.op0_register()),
            _ => None,
        };
        let Some(target) = target else { return self.forget(instruction, facts) };
        let address = match (instruction.mnemonic(), self.value(target)) {
            (Mnemonic::Lea, _) => self.address(instruction),
            (mnemonic, Value::Frame(offset)) => immediate(instruction).and_then(|amount| {
                let amount = if mnemonic == Mnemonic::Sub { -amount } else { amount };
                offset.checked_add(amount)
            }),
            _ => None,
        };
        self.set(target, address.map_or(Value::Unknown, Value::Frame));
        Effect::Nothing
    }

    /// Handles any other instruction: the registers that it may write become unknown.
    fn forget(&mut self, instruction: &Instruction, facts: &mut InstructionInfoFactory) -> Effect {
        let info = facts.info(instruction);
        let mut effect = Effect::Nothing;
        for memory in info.used_memory().iter().filter(|memory| writes(memory.access())) {
            match self.own_frame(memory) {
                Some(range) => {
                    self.overwritten.insert(range);
                }
                None => effect = Effect::Elsewhere,
            }
        }
        for used in info.used_registers().iter().filter(|used| writes(used.access())) {
            if let Some(register) = Reg::containing(used.register()) {
                self.set(register, Value::Unknown);
            }
        }
        effect
    }

    /// Returns the part of the frame that a store writes, if it is certain to stay below the return
    /// address. The size of a store with a repeat prefix is unknown.
    fn own_frame(&self, memory: &UsedMemory) -> Option<(i64, i64)> {
        let base = match memory.base() {
            base if memory.index() == Register::None && is_flat(memory.segment()) => {
                Reg::exactly(base)?
            }
            _ => return None,
        };
        let Value::Frame(offset) = self.value(base) else { return None };
        let start = offset.checked_add(memory.displacement() as i64)?;
        let size = i64::try_from(memory.memory_size().size()).ok().filter(|&size| size > 0)?;
        let end = start.checked_add(size)?;
        (end <= 0).then_some((start, end))
    }

    /// Returns the address of a memory operand, as a distance in the frame.
    fn address(&self, instruction: &Instruction) -> Option<i64> {
        let plain =
            instruction.memory_index() == Register::None && is_flat(instruction.memory_segment());
        let base = Reg::exactly(instruction.memory_base()).filter(|_| plain)?;
        let Value::Frame(offset) = self.value(base) else { return None };
        offset.checked_add(instruction.memory_displacement64() as i64)
    }

    /// Returns the result of a load from the frame.
    fn slot(&self, offset: i64, size: i64) -> Value {
        let end = offset.saturating_add(size);
        let touched = self.overwritten.iter().any(|&(from, to)| from < end && offset < to);
        if touched { Value::Unknown } else { Value::Whole(Source::Slot(offset)) }
    }
}

/// Returns whether a segment's base is zero. In 64-bit mode all are but these two.
fn is_flat(segment: Register) -> bool {
    !matches!(segment, Register::FS | Register::GS)
}

fn writes(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// Returns the second operand of 64-bit arithmetic, if it is a number.
fn immediate(instruction: &Instruction) -> Option<i64> {
    match instruction.op1_kind() {
        OpKind::Immediate8to64 | OpKind::Immediate32to64 => Some(instruction.immediate(1) as i64),
        _ => None,
    }
}
