//! A machine that runs small functions, to find out their real effects.
//!
//! It shares nothing with the analysis: it has its own names for the operations, and receives only
//! the positions of the probes. Values, flags and memory are concrete.

use std::collections::HashMap;

use iced_x86::code_asm::registers::gpr32 as r32;
use iced_x86::code_asm::registers::gpr64 as r64;
use iced_x86::code_asm::{AsmRegister32, AsmRegister64, CodeAssembler, CodeLabel};
use iced_x86::code_asm::{dword_ptr, qword_ptr};
use iced_x86::{Decoder, DecoderOptions, IcedError};

/// Registers by number, as in [`super::super::Reg`].
pub(super) type R = usize;
pub(super) const RAX: R = 0;
pub(super) const RSP: R = 4;
pub(super) const RBP: R = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    AtMostZero,
    AboveZero,
    Negative,
    Equal,
    Unequal,
}

/// One instruction. Branches go to the operation with that index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Push(R),
    Pop(R),
    /// 64 bits.
    Copy(R, R),
    /// 32 bits; the upper ones become 0.
    CopyLow(R, R),
    SignExtend(R, R),
    Set(R, i32),
    /// 64 bits; `add rsp` and `sub rsp` among others.
    Add(R, i32),
    /// 8 bits.
    SetLowByte(R, i32),
    /// rsp or rbp plus a distance.
    Address(R, R, i32),
    AlignStack,
    Load(R, R, i32),
    LoadLow(R, R, i32),
    Store(R, i32, R),
    StoreLow(R, i32, R),
    Test(R),
    /// The second, if the flags mean above zero.
    MoveIfAbove(R, R),
    CompareCanary(R),
    Leave,
    Nop,
    Call,
    Jump(usize),
    Branch(Condition, usize),
    Trap,
    Return,
}

fn wide(r: R) -> AsmRegister64 {
    [
        r64::rax,
        r64::rcx,
        r64::rdx,
        r64::rbx,
        r64::rsp,
        r64::rbp,
        r64::rsi,
        r64::rdi,
        r64::r8,
        r64::r9,
        r64::r10,
        r64::r11,
        r64::r12,
        r64::r13,
        r64::r14,
        r64::r15,
    ][r]
}

fn low(r: R) -> AsmRegister32 {
    [
        r32::eax,
        r32::ecx,
        r32::edx,
        r32::ebx,
        r32::esp,
        r32::ebp,
        r32::esi,
        r32::edi,
        r32::r8d,
        r32::r9d,
        r32::r10d,
        r32::r11d,
        r32::r12d,
        r32::r13d,
        r32::r14d,
        r32::r15d,
    ][r]
}

/// Code at an address, and the place of each operation.
pub(super) struct Assembled {
    pub(super) bytes: Vec<u8>,
    pub(super) addresses: Vec<u64>,
}

/// Encodes a function, to be loaded at `start`.
pub(super) fn assemble(ops: &[Op], start: u64) -> Assembled {
    let bytes = encode(ops, start).unwrap();
    let decoder = Decoder::with_ip(64, &bytes, start, DecoderOptions::NONE);
    let addresses: Vec<u64> = decoder.into_iter().map(|instruction| instruction.ip()).collect();
    assert_eq!(addresses.len(), ops.len());
    Assembled { bytes, addresses }
}

fn encode(ops: &[Op], start: u64) -> Result<Vec<u8>, IcedError> {
    let mut a = CodeAssembler::new(64)?;
    let mut labels: Vec<CodeLabel> = ops.iter().map(|_| a.create_label()).collect();
    for (index, &op) in ops.iter().enumerate() {
        a.set_label(&mut labels[index])?;
        match op {
            Op::Push(r) => a.push(wide(r))?,
            Op::Pop(r) => a.pop(wide(r))?,
            Op::Copy(to, from) => a.mov(wide(to), wide(from))?,
            Op::CopyLow(to, from) => a.mov(low(to), low(from))?,
            Op::SignExtend(to, from) => a.movsxd(wide(to), low(from))?,
            Op::Set(r, value) => a.mov(low(r), value)?,
            Op::Add(r, value) => a.add(wide(r), value)?,
            Op::SetLowByte(_, value) => a.mov(r64_low_byte(), value)?,
            Op::Address(to, base, at) => a.lea(wide(to), qword_ptr(wide(base) + at))?,
            Op::AlignStack => a.and(wide(RSP), -16)?,
            Op::Load(to, base, at) => a.mov(wide(to), qword_ptr(wide(base) + at))?,
            Op::LoadLow(to, base, at) => a.mov(low(to), dword_ptr(wide(base) + at))?,
            Op::Store(base, at, from) => a.mov(qword_ptr(wide(base) + at), wide(from))?,
            Op::StoreLow(base, at, from) => a.mov(dword_ptr(wide(base) + at), low(from))?,
            Op::Test(r) => a.test(low(r), low(r))?,
            Op::MoveIfAbove(to, from) => a.cmovg(wide(to), wide(from))?,
            Op::CompareCanary(r) => a.cmp(wide(r), qword_ptr(0x28).fs())?,
            Op::Leave => a.leave()?,
            Op::Nop => a.nop()?,
            Op::Call => a.call(0x10_0000)?,
            Op::Jump(to) => a.jmp(labels[to])?,
            Op::Branch(Condition::AtMostZero, to) => a.jle(labels[to])?,
            Op::Branch(Condition::AboveZero, to) => a.jg(labels[to])?,
            Op::Branch(Condition::Negative, to) => a.js(labels[to])?,
            Op::Branch(Condition::Equal, to) => a.je(labels[to])?,
            Op::Branch(Condition::Unequal, to) => a.jne(labels[to])?,
            Op::Trap => a.ud2()?,
            Op::Return => a.ret()?,
        }
    }
    a.assemble(start)
}

/// Only al is ever written alone.
fn r64_low_byte() -> iced_x86::code_asm::AsmRegister8 {
    iced_x86::code_asm::registers::gpr8::al
}

/// The reason why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// At a `ret`, with rsp where it was at the beginning.
    Returned,
    /// Otherwise; such a run proves nothing.
    Lost,
}

/// The state of a run.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) registers: [u64; 16],
    memory: HashMap<u64, u8>,
    /// The outcome of the last comparison, or of another operation that set the flags.
    compared: i64,
    seed: u64,
    /// rsp at the beginning.
    pub(super) stack: u64,
    /// The function called, or wrote above its frame or elsewhere.
    pub(super) effects: usize,
}

/// The most operations of one run; loops may be endless.
const FUEL: usize = 400;

/// Memory below the stack's beginning that counts as the function's frame.
const FRAME: u64 = 0x1_0000;

impl Machine {
    /// Fresh registers and memory. Small numbers are frequent, so that all branches are taken.
    pub(super) fn new(seed: u64) -> Self {
        let stack = 0x7fff_0000_0008;
        let mut machine = Self {
            registers: [0; 16],
            memory: HashMap::new(),
            compared: 0,
            seed,
            stack,
            effects: 0,
        };
        for r in 0..16 {
            machine.registers[r] = machine.any();
        }
        machine.registers[RSP] = stack;
        machine
    }

    fn any(&mut self) -> u64 {
        let bits = next_random(&mut self.seed);
        match bits % 4 {
            0 => bits,
            1 => (bits >> 60).wrapping_sub(8),
            2 => bits >> 32,
            _ => (bits & 0xffff_ffff) | 0x8000_0000,
        }
    }

    pub(super) fn read(&self, address: u64, size: u64) -> u64 {
        (0..size).rev().fold(0, |value, n| {
            let at = address.wrapping_add(n);
            let unwritten = (at ^ self.stack).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
            value << 8 | u64::from(self.memory.get(&at).copied().unwrap_or(unwritten as u8))
        })
    }

    fn write(&mut self, address: u64, size: u64, value: u64) {
        let own = self.stack - FRAME..=self.stack - size;
        self.effects += usize::from(!own.contains(&address));
        for n in 0..size {
            self.memory.insert(address.wrapping_add(n), (value >> (8 * n)) as u8);
        }
    }

    fn at(&self, base: R, distance: i32) -> u64 {
        self.registers[base].wrapping_add_signed(distance.into())
    }

    fn push(&mut self, value: u64) {
        self.registers[RSP] = self.registers[RSP].wrapping_sub(8);
        self.write(self.registers[RSP], 8, value);
    }

    fn pop(&mut self) -> u64 {
        let value = self.read(self.registers[RSP], 8);
        self.registers[RSP] = self.registers[RSP].wrapping_add(8);
        value
    }

    /// Runs a function to its end. `watch` is called with the machine before each operation.
    pub(super) fn run(&mut self, ops: &[Op], mut watch: impl FnMut(usize, &Self)) -> End {
        let mut index = 0;
        for _ in 0..FUEL {
            let Some(&op) = ops.get(index) else { return End::Lost };
            watch(index, self);
            index = match op {
                Op::Return if self.registers[RSP] == self.stack => return End::Returned,
                Op::Return | Op::Trap => return End::Lost,
                Op::Jump(to) => to,
                Op::Branch(condition, to) if self.holds(condition) => to,
                _ => {
                    self.step(op);
                    index + 1
                }
            };
        }
        End::Lost
    }

    fn holds(&self, condition: Condition) -> bool {
        match condition {
            Condition::AtMostZero => self.compared <= 0,
            Condition::AboveZero => self.compared > 0,
            Condition::Negative => self.compared < 0,
            Condition::Equal => self.compared == 0,
            Condition::Unequal => self.compared != 0,
        }
    }

    fn step(&mut self, op: Op) {
        let registers = &mut self.registers;
        match op {
            Op::Push(r) => {
                let value = registers[r];
                self.push(value);
            }
            Op::Pop(r) => {
                let value = self.pop();
                self.registers[r] = value;
            }
            Op::Copy(to, from) => registers[to] = registers[from],
            Op::CopyLow(to, from) => registers[to] = registers[from] & 0xffff_ffff,
            Op::SignExtend(to, from) => registers[to] = registers[from] as i32 as u64,
            Op::Set(r, value) => registers[r] = u64::from(value as u32),
            Op::Add(r, value) => {
                registers[r] = registers[r].wrapping_add_signed(value.into());
                self.compared = self.registers[r] as i64;
            }
            Op::SetLowByte(r, value) => registers[r] = registers[r] & !0xff | value as u64 & 0xff,
            Op::Address(to, base, at) => self.registers[to] = self.at(base, at),
            Op::AlignStack => {
                registers[RSP] &= !15;
                self.compared = self.registers[RSP] as i64;
            }
            Op::Load(to, base, at) => self.registers[to] = self.read(self.at(base, at), 8),
            Op::LoadLow(to, base, at) => self.registers[to] = self.read(self.at(base, at), 4),
            Op::Store(base, at, from) => self.write(self.at(base, at), 8, self.registers[from]),
            Op::StoreLow(base, at, from) => {
                self.write(self.at(base, at), 4, self.registers[from]);
            }
            Op::Test(r) => self.compared = (registers[r] as i32).into(),
            Op::MoveIfAbove(to, from) => {
                let from = if self.compared > 0 { from } else { to };
                registers[to] = registers[from];
            }
            Op::CompareCanary(_) => self.compared = 0,
            Op::Leave => {
                registers[RSP] = registers[RBP];
                let value = self.pop();
                self.registers[RBP] = value;
            }
            Op::Call => self.call(),
            Op::Nop | Op::Jump(_) | Op::Branch(..) | Op::Trap | Op::Return => {}
        }
    }

    /// Sets the registers that a called function may change to arbitrary values.
    fn call(&mut self) {
        self.effects += 1;
        for r in [0, 1, 2, 6, 7, 8, 9, 10, 11] {
            self.registers[r] = self.any();
        }
        self.compared = self.any() as i64;
    }
}

/// xorshift64*: reproducible, and random enough to choose instructions.
pub(super) fn next_random(seed: &mut u64) -> u64 {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    seed.wrapping_mul(0x2545_f491_4f6c_dd1d)
}
