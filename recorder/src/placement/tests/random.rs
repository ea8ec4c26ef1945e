//! Random functions, placed by their bytes and run by the machine: every proof must hold.

use super::super::{Exit, Image, Location, Placement, Wanted, Width, place};
use super::machine::{
    Assembled, Condition, End, Machine, Op, R, RAX, RBP, RSP, assemble, next_random,
};
use crate::arch::ARGUMENTS;

const START: u64 = 0x40_0000;

/// Functions for each run of the tests, and runs of each.
const FUNCTIONS: u64 = 6_000;
const RUNS: u64 = 24;

const ARGUMENT_WIDTHS: [Width; 3] = [Width::Long, Width::Long, Width::Int];

/// Generates functions similar to those of compilers: a frame, blocks with branches among them, and
/// ways out; sometimes with an unexpected instruction.
struct Author {
    seed: u64,
    ops: Vec<Op>,
    saved: Vec<R>,
    framed: bool,
    locals: i32,
}

impl Author {
    fn write(seed: u64) -> Vec<Op> {
        let mut author =
            Self { seed, ops: Vec::new(), saved: Vec::new(), framed: false, locals: 0 };
        author.prologue();
        let mut starts = Vec::new();
        for _ in 0..author.pick(6) + 1 {
            starts.push(author.ops.len());
            author.block();
        }
        for _ in 0..author.pick(2) + 1 {
            starts.push(author.ops.len());
            author.epilogue();
        }
        author.failure();
        author.aim_branches(&starts);
        author.disturb();
        author.ops
    }

    fn pick(&mut self, below: u64) -> u64 {
        (next_random(&mut self.seed) >> 20) % below
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.pick(100) < percent
    }

    fn register(&mut self) -> R {
        [0, 0, 0, 1, 2, 3, 6, 7, 12][self.pick(9) as usize]
    }

    fn prologue(&mut self) {
        if self.chance(30) {
            self.plain();
        }
        self.framed = self.chance(25);
        if self.framed {
            self.ops.extend([Op::Push(RBP), Op::Copy(RBP, RSP)]);
        }
        for r in [3, 12, 13].into_iter().take(self.pick(4) as usize) {
            self.saved.push(r);
            self.ops.push(Op::Push(r));
        }
        self.locals = 8 * self.pick(4) as i32;
        if self.locals > 0 {
            self.ops.push(Op::Add(RSP, -self.locals));
        }
        if self.chance(50) {
            self.plain();
        }
    }

    /// Adds an instruction that computes.
    fn plain(&mut self) {
        let (to, from) = (self.register(), self.register());
        let number = self.pick(5) as i32 - 2;
        let slot = if self.locals > 0 { 4 * self.pick(self.locals as u64 / 4) as i32 } else { 0 };
        let op = match self.pick(20) {
            0 | 1 => Op::Copy(to, from),
            2 | 3 => Op::CopyLow(to, from),
            4 => Op::SignExtend(to, from),
            5 => Op::Set(to, number),
            6 => Op::Add(to, number),
            7 => Op::SetLowByte(RAX, number),
            8 => Op::Address(to, RSP, slot),
            9 => Op::Load(to, RSP, slot & !7),
            10 | 11 => Op::LoadLow(to, RSP, slot),
            12 if self.locals > 0 => Op::StoreLow(RSP, slot, from),
            13 if self.locals > 0 => Op::Store(RSP, slot & !7, from),
            14 => Op::StoreLow(to, number, from),
            15 => Op::MoveIfAbove(to, from),
            16 => Op::Nop,
            _ => Op::Test(from),
        };
        self.ops.push(op);
    }

    fn block(&mut self) {
        for _ in 0..self.pick(4) {
            self.plain();
        }
        if self.chance(35) {
            self.ops.push(Op::Call);
        }
        if self.locals > 0 && self.chance(35) {
            self.count_or_error();
        }
        match self.pick(5) {
            0 => self.ops.push(Op::Jump(usize::MAX)),
            1 | 2 => {
                let condition = self.condition();
                self.ops.push(Op::Branch(condition, usize::MAX));
            }
            _ => {}
        }
    }

    fn condition(&mut self) -> Condition {
        [
            Condition::AtMostZero,
            Condition::AboveZero,
            Condition::Negative,
            Condition::Equal,
            Condition::Unequal,
        ][self.pick(5) as usize]
    }

    /// Adds `if (ret > 0) ret = count;`, or a similar sequence.
    fn count_or_error(&mut self) {
        let tested = if self.chance(85) { RAX } else { self.register() };
        self.ops.push(Op::Test(tested));
        if self.chance(15) {
            self.plain();
        }
        let condition = if self.chance(70) { Condition::AtMostZero } else { self.condition() };
        let behind = self.ops.len() + 2;
        self.ops.push(Op::Branch(condition, behind));
        self.ops.push(Op::LoadLow(RAX, RSP, 0));
    }

    fn epilogue(&mut self) {
        if self.chance(40) {
            self.ops.push(Op::CompareCanary(2));
            self.ops.push(Op::Branch(Condition::Unequal, usize::MAX - 1));
        }
        for _ in 0..self.pick(2) {
            self.plain();
        }
        if self.framed && self.saved.is_empty() && self.chance(50) {
            self.ops.extend([Op::Leave, Op::Return]);
            return;
        }
        if self.locals > 0 {
            self.ops.push(Op::Add(RSP, self.locals));
        }
        for r in self.saved.clone().into_iter().rev() {
            self.ops.push(Op::Pop(r));
            if self.chance(10) {
                self.ops.push(Op::Set(1, 0));
            }
        }
        if self.framed {
            self.ops.push(Op::Pop(RBP));
        }
        self.ops.push(Op::Return);
    }

    /// Adds the end of all functions with a canary, or something else that does not return.
    fn failure(&mut self) {
        let op = if self.chance(70) { Op::Call } else { Op::Trap };
        self.ops.push(op);
    }

    /// Sets a target for branches without one: mostly forwards, sometimes anywhere.
    fn aim_branches(&mut self, starts: &[usize]) {
        for index in 0..self.ops.len() {
            let ahead: Vec<usize> = starts.iter().copied().filter(|&start| start > index).collect();
            let candidates = if ahead.is_empty() || self.chance(10) { starts } else { &ahead };
            let target = candidates[self.pick(candidates.len() as u64) as usize];
            let last = self.ops.len() - 1;
            match &mut self.ops[index] {
                Op::Jump(to) | Op::Branch(_, to) if *to == usize::MAX => *to = target,
                Op::Branch(_, to) if *to == usize::MAX - 1 => *to = last,
                _ => {}
            }
        }
    }

    /// Sometimes replaces an instruction by another that does not belong there.
    fn disturb(&mut self) {
        while self.chance(25) {
            let index = self.pick(self.ops.len() as u64 - 1) as usize;
            let anywhere = self.pick(self.ops.len() as u64) as usize;
            let register = self.register();
            self.ops[index] = match self.pick(9) {
                0 => Op::Push(register),
                1 => Op::Pop(register),
                2 => Op::Jump(anywhere),
                3 => Op::Branch(self.condition(), anywhere),
                4 => Op::AlignStack,
                5 => Op::Return,
                6 => Op::Call,
                7 => Op::Copy(RSP, RBP),
                _ => Op::Nop,
            };
        }
    }
}

fn found_at(machine: &Machine, location: Location) -> u64 {
    let on_stack = |offset: u32| machine.read(machine.registers[RSP] + u64::from(offset), 8);
    match location {
        Location::Register(register) => machine.registers[register.number()],
        Location::Stack(offset) => on_stack(offset),
        Location::Guarded(_) if machine.registers[RAX] as i32 <= 0 => machine.registers[RAX],
        Location::Guarded(offset) => on_stack(offset),
    }
}

fn bits(value: u64, width: Width) -> u64 {
    match width {
        Width::Int => value & 0xffff_ffff,
        Width::Long => value,
    }
}

/// The observations of a run with a placement.
struct Run<'a> {
    code: &'a Assembled,
    placement: &'a Placement,
    begun: Machine,
    entries: usize,
    /// The result as the first exit finds it, and the effects up to there.
    told: Option<(u64, usize)>,
}

impl Run<'_> {
    fn watch(&mut self, index: usize, machine: &Machine) {
        let address = self.code.addresses[index];
        let entry = &self.placement.entry;
        if address == entry.address {
            self.entries += 1;
            assert_eq!(machine.registers[RSP] + u64::from(entry.frame), machine.stack, "entry");
            for (width, register) in ARGUMENT_WIDTHS.into_iter().zip(ARGUMENTS) {
                let number = register.number();
                let (now, then) = (machine.registers[number], self.begun.registers[number]);
                assert_eq!(bits(now, width), bits(then, width), "argument in {}", register.name());
            }
        }
        let here = |exit: &&Exit| exit.address == address;
        if let Some(exit) = self.placement.exits.iter().find(here)
            && self.told.is_none()
        {
            assert_eq!(machine.registers[RSP] + u64::from(exit.frame), machine.stack, "exit");
            self.told = Some((found_at(machine, exit.result), machine.effects));
        }
    }
}

/// Runs a function many times and compares each run with its placement.
fn check(ops: &[Op], code: &Assembled, placement: &Placement, width: Width, seed: u64) -> u64 {
    let mut returned = 0;
    for n in 0..RUNS {
        let mut machine = Machine::new(seed ^ (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let begun = machine.clone();
        let mut run = Run { code, placement, begun, entries: 0, told: None };
        if machine.run(ops, |index, machine| run.watch(index, machine)) == End::Lost {
            continue;
        }
        returned += 1;
        assert_eq!(run.entries, 1, "entries");
        let (result, effects) = run.told.expect("no exit on the way");
        assert_eq!(bits(result, width), bits(machine.registers[RAX], width), "result");
        assert_eq!(effects, machine.effects, "something happened after the exit");
    }
    returned
}

#[test]
fn proofs_about_random_functions_hold_when_they_run() {
    let functions = std::env::var("PLACEMENT_FUNCTIONS").ok();
    let functions = functions.map_or(FUNCTIONS, |number| number.parse().unwrap());
    let (mut emulated, mut guarded, mut on_stack, mut several, mut returned) = (0, 0, 0, 0, 0);
    for n in 1..=functions {
        let seed = n.wrapping_mul(0xd134_2543_de82_ef95) | 1;
        let width = if n % 3 == 0 { Width::Long } else { Width::Int };
        let ops = Author::write(seed);
        let code = assemble(&ops, START);
        let image = Image { segments: vec![(START, &code.bytes)] };
        let range = START..START + code.bytes.len() as u64;
        let wanted = Wanted { arguments: &ARGUMENT_WIDTHS, result: Some(width) };
        let Ok(placement) = place(&image, range, wanted) else { continue };
        let checked = std::panic::catch_unwind(|| check(&ops, &code, &placement, width, seed));
        let Ok(runs) = checked else {
            for (op, address) in ops.iter().zip(&code.addresses) {
                eprintln!("{address:#x} {op:?}");
            }
            panic!("function {n} is not as proven: {placement:#x?}");
        };
        returned += runs;
        emulated += usize::from(placement.exits.iter().all(|exit| exit.emulated));
        several += usize::from(placement.exits.len() > 1);
        for exit in &placement.exits {
            guarded += usize::from(matches!(exit.result, Location::Guarded(_)));
            on_stack += usize::from(matches!(exit.result, Location::Stack(_)));
        }
    }
    eprintln!("{functions}: {emulated} {guarded} {on_stack} {several} {returned}");
    // The test would prove nothing if the interesting cases were rare.
    assert!(emulated as u64 > functions / 20, "{emulated} only with emulated exits");
    assert!(guarded as u64 > functions / 200, "{guarded} guarded exits only");
    assert!(on_stack as u64 > functions / 200, "{on_stack} exits with the result on the stack");
    assert!(several as u64 > functions / 50, "{several} with more than one exit");
    assert!(returned > functions * RUNS / 10, "{returned} runs only came to an end");
}
