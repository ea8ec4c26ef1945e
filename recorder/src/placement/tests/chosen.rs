//! Small functions that invite a wrong place.

use super::super::{Entry, Exit, Image, Location, Placement, Reg, Unplaced, Wanted, Width, place};
use super::machine::{Condition, Op, R, RAX, RBP, RSP, assemble};

const START: u64 = 0x40_0000;
const RCX: R = 1;
const RDX: R = 2;
const RBX: R = 3;
const RSI: R = 6;
const RDI: R = 7;

const POINTER: &[Width] = &[Width::Long];
const READ: &[Width] = &[Width::Long, Width::Long, Width::Int];

/// Places a function, and returns its places by the index of the operation.
fn placed(ops: &[Op], arguments: &[Width], result: Option<Width>) -> Result<Found, Unplaced> {
    let code = assemble(ops, START);
    let index = |address| code.addresses.iter().position(|&at| at == address).unwrap();
    let Placement { entry, exits } = place_bytes(&code.bytes, Wanted { arguments, result })?;
    let exits = exits.iter().map(|exit| (index(exit.address), exit.frame, exit.result));
    Ok(Found { entry: (index(entry.address), entry.frame), exits: exits.collect() })
}

fn place_bytes(bytes: &[u8], wanted: Wanted<'_>) -> Result<Placement, Unplaced> {
    let image = Image { segments: vec![(START, bytes)] };
    place(&image, START..START + bytes.len() as u64, wanted)
}

/// Returns the entry of a function without arguments whose result does not matter.
fn entry_of(bytes: &[u8]) -> Entry {
    place_bytes(bytes, Wanted { arguments: &[], result: None }).unwrap().entry
}

fn exits_of(bytes: &[u8]) -> Result<Vec<Exit>, Unplaced> {
    let wanted = Wanted { arguments: &[], result: Some(Width::Int) };
    place_bytes(bytes, wanted).map(|placement| placement.exits)
}

#[derive(Debug, PartialEq, Eq)]
struct Found {
    entry: (usize, u32),
    exits: Vec<(usize, u32, Location)>,
}

impl Found {
    fn entry(ops: &[Op], arguments: &[Width]) -> (usize, u32) {
        placed(ops, arguments, None).unwrap().entry
    }

    fn exits(ops: &[Op]) -> Vec<(usize, u32, Location)> {
        placed(ops, &[], Some(Width::Int)).unwrap().exits
    }
}

const EAX: Location = Location::Register(Reg::RAX);

#[test]
fn the_first_push_is_an_entry() {
    let ops = [Op::Add(RSP, -8), Op::Push(RBX), Op::Pop(RBX), Op::Add(RSP, 8), Op::Return];
    assert_eq!(Found::entry(&ops, READ), (1, 8));
}

#[test]
fn a_jump_is_a_better_entry_than_a_call_and_a_call_than_none() {
    let call = [Op::Add(RSP, -8), Op::Call, Op::Add(RSP, 8), Op::Return];
    assert_eq!(Found::entry(&call, READ), (1, 8));
    let both = [Op::Nop, Op::Call, Op::Return];
    assert_eq!(Found::entry(&both, READ), (0, 0));
    assert_eq!(Found::entry(&[Op::Set(RAX, 1), Op::Return], READ), (0, 0));
}

#[test]
fn an_entry_lies_before_an_argument_is_lost() {
    let ops = |lost| [Op::Nop, lost, Op::Nop, Op::Return];
    // Skips the nop at the beginning, so that only the second one is left.
    let second = |lost, arguments| Found::entry(&ops(lost)[1..], arguments);
    assert_eq!(second(Op::Set(RSI, 0), READ), (0, 0));
    assert_eq!(second(Op::Set(RSI, 0), POINTER), (1, 0));
    assert_eq!(second(Op::Copy(RBX, RSI), READ), (1, 0));
}

#[test]
fn an_int_survives_the_loss_of_its_upper_half_and_a_pointer_does_not() {
    let narrowed = [Op::SignExtend(RDX, RDX), Op::Nop, Op::Return];
    assert_eq!(Found::entry(&narrowed, READ), (1, 0));
    assert_eq!(Found::entry(&narrowed, &[Width::Long; 3]), (0, 0));
    let narrowed = [Op::CopyLow(RDI, RDI), Op::Nop, Op::Return];
    assert_eq!(Found::entry(&narrowed, POINTER), (0, 0));
}

#[test]
fn an_argument_that_is_moved_away_and_back_is_intact() {
    let ops = [Op::Copy(RBX, RDI), Op::Set(RDI, 0), Op::Copy(RDI, RBX), Op::Nop, Op::Return];
    assert_eq!(Found::entry(&ops, POINTER), (3, 0));
}

#[test]
fn an_entry_is_not_in_a_loop() {
    let ops = [
        Op::Set(RAX, 1),
        Op::Nop, // Met in each turn.
        Op::Test(RAX),
        Op::Branch(Condition::Unequal, 1),
        Op::Return,
    ];
    assert_eq!(Found::entry(&ops, POINTER), (0, 0));
    let ops = [Op::Nop, Op::Test(RAX), Op::Branch(Condition::Unequal, 0), Op::Return];
    assert_eq!(placed(&ops, &[], Some(Width::Int)), Err(Unplaced::EntryLoop));
}

#[test]
fn an_entry_is_not_where_a_table_may_lead() {
    // sub $8,%rsp; nop; jmp *%rax
    assert_eq!(entry_of(&[0x48, 0x83, 0xec, 0x08, 0x90, 0xff, 0xe0]).address, START);
    // nop; sub $8,%rsp; jmp *%rax: there the stack is another.
    assert!(entry_of(&[0x90, 0x48, 0x83, 0xec, 0x08, 0xff, 0xe0]).emulated);
}

#[test]
fn an_instruction_with_an_unknown_frame_is_not_an_entry() {
    let ops = [Op::Copy(RAX, RBP), Op::AlignStack, Op::Push(RBX), Op::Trap];
    assert_eq!(Found::entry(&ops, &[]), (0, 0));
}

#[test]
fn prefixes_and_landing_pads_are_no_entry() {
    // endbr64; push %rbx; pop %rbx; ret
    let entry = entry_of(&[0xf3, 0x0f, 0x1e, 0xfa, 0x53, 0x5b, 0xc3]);
    assert_eq!((entry.address, entry.emulated), (START + 4, true));
    // xchg %ax,%ax; ret
    assert!(!entry_of(&[0x66, 0x90, 0xc3]).emulated);
    // xchg %rax,%r8; ret
    assert!(!entry_of(&[0x49, 0x90, 0xc3]).emulated);
    // data16 jmp +0; ret
    assert!(!entry_of(&[0x66, 0xeb, 0x00, 0xc3]).emulated);
    // nopl (%rax); ret
    assert!(!entry_of(&[0x0f, 0x1f, 0x00, 0xc3]).emulated);
}

#[test]
fn the_branch_behind_the_last_change_of_the_result_is_an_exit() {
    let ops = [
        Op::Set(RAX, 1),
        Op::CompareCanary(RDX),
        Op::Branch(Condition::Unequal, 4),
        Op::Return,
        Op::Call,
    ];
    assert_eq!(Found::exits(&ops), [(2, 0, EAX)]);
}

#[test]
fn a_result_that_one_way_changes_is_not_final_before_it() {
    let ops = [
        Op::CompareCanary(RDX),
        Op::Branch(Condition::Unequal, 3),
        Op::Return,
        Op::Set(RAX, 1),
        Op::Return,
    ];
    assert_eq!(Found::exits(&ops), [(2, 0, EAX), (4, 0, EAX)]);
}

#[test]
fn a_part_of_the_result_that_changes_is_a_change() {
    let ops = [Op::Jump(1), Op::SetLowByte(RAX, 1), Op::Return];
    assert_eq!(Found::exits(&ops), [(2, 0, EAX)]);
}

#[test]
fn a_result_kept_elsewhere_is_found_there() {
    let register = [Op::Jump(1), Op::CopyLow(RAX, RBX), Op::Return];
    assert_eq!(Found::exits(&register), [(0, 0, Location::Register(Reg::RBX))]);
    let slot =
        [Op::Add(RSP, -16), Op::Jump(2), Op::LoadLow(RAX, RSP, 12), Op::Add(RSP, 16), Op::Return];
    assert_eq!(Found::exits(&slot), [(1, 16, Location::Stack(12))]);
}

#[test]
fn half_a_result_is_not_a_64_bit_result() {
    let ops = [Op::Jump(1), Op::CopyLow(RAX, RBX), Op::Return];
    let long = placed(&ops, &[], Some(Width::Long)).unwrap();
    assert_eq!(long.exits, [(2, 0, EAX)]);
}

#[test]
fn a_slot_that_is_written_again_is_not_the_result() {
    let ops = [
        Op::Add(RSP, -16),
        Op::Jump(2),
        Op::StoreLow(RSP, 8, RCX),
        Op::Load(RAX, RSP, 8),
        Op::Add(RSP, 16),
        Op::Return,
    ];
    assert_eq!(Found::exits(&ops), [(5, 0, EAX)]);
}

#[test]
fn an_exit_lies_behind_the_last_call_and_the_last_store() {
    // Kept in rbx, the result is certain long before; the counted bytes may still be written.
    let call = [Op::Jump(1), Op::Call, Op::Copy(RAX, RBX), Op::Return];
    assert_eq!(Found::exits(&call), [(3, 0, EAX)]);
    let store = [Op::Jump(1), Op::Store(RCX, 0, RDX), Op::Return];
    assert_eq!(Found::exits(&store), [(2, 0, EAX)]);
    let own = [Op::Jump(1), Op::Store(RSP, -16, RDX), Op::Return];
    assert_eq!(Found::exits(&own), [(0, 0, EAX)]);
}

#[test]
fn a_repeated_store_may_leave_the_frame() {
    // lea -0x10(%rsp),%rdi; jmp +0; stos %rax,(%rdi); ret
    let once = [0x48, 0x8d, 0x7c, 0x24, 0xf0, 0xeb, 0x00, 0x48, 0xab, 0xc3];
    assert_eq!(exits_of(&once).unwrap()[0].address, START + 5);
    // The same with rep stos.
    let often = [0x48, 0x8d, 0x7c, 0x24, 0xf0, 0xeb, 0x00, 0xf3, 0x48, 0xab, 0xc3];
    assert_eq!(exits_of(&often).unwrap()[0].address, START + 10);
}

#[test]
fn a_slot_of_another_segment_is_not_in_the_frame() {
    // push %rbx; jmp +0; mov (%rsp),%eax; pop %rbx; ret
    let frame = [0x53, 0xeb, 0x00, 0x8b, 0x04, 0x24, 0x5b, 0xc3];
    assert_eq!(exits_of(&frame).unwrap()[0].result, Location::Stack(0));
    // The same with %fs:(%rsp).
    let thread = [0x53, 0xeb, 0x00, 0x64, 0x8b, 0x04, 0x24, 0x5b, 0xc3];
    assert_eq!(exits_of(&thread).unwrap()[0].result, EAX);
}

#[test]
fn an_exit_is_not_in_a_loop() {
    let ops = [Op::Test(RCX), Op::Nop, Op::Branch(Condition::Unequal, 1), Op::Return];
    assert_eq!(Found::exits(&ops), [(3, 0, EAX)]);
}

#[test]
fn a_way_around_an_exit_needs_an_exit_of_its_own() {
    let ops = [
        Op::Test(RCX),
        Op::Branch(Condition::Equal, 5), // rax is not final here: one way sets it.
        Op::Set(RAX, 1),
        Op::Nop,
        Op::Return,
        Op::Return,
    ];
    assert_eq!(Found::exits(&ops), [(3, 0, EAX), (5, 0, EAX)]);
}

fn count_or_error(test: Op, branch: Condition) -> Vec<Op> {
    vec![
        Op::Add(RSP, -8),
        Op::Call,
        test,
        Op::Branch(branch, 5),
        Op::LoadLow(RAX, RSP, 4),
        Op::Add(RSP, 8),
        Op::Return,
    ]
}

#[test]
fn a_count_behind_a_check_of_the_result_is_guarded() {
    let ops = count_or_error(Op::Test(RAX), Condition::AtMostZero);
    assert_eq!(Found::exits(&ops), [(3, 8, Location::Guarded(4))]);
}

#[test]
fn a_check_of_something_else_guards_nothing() {
    for ops in [
        count_or_error(Op::Test(RBX), Condition::AtMostZero),
        count_or_error(Op::Test(RAX), Condition::Negative),
        count_or_error(Op::Test(RAX), Condition::AboveZero),
    ] {
        assert_eq!(Found::exits(&ops), [(6, 0, EAX)], "{ops:?}");
    }
}

#[test]
fn a_comparison_with_zero_guards_and_with_another_number_does_not() {
    // push %rbx; cmp $0,%eax; jle +3; mov (%rsp),%eax; pop %rbx; ret
    let mut code = [0x53, 0x83, 0xf8, 0, 0x7e, 0x03, 0x8b, 0x04, 0x24, 0x5b, 0xc3];
    assert_eq!(exits_of(&code).unwrap()[0].result, Location::Guarded(0));
    code[3] = 5;
    assert_eq!(exits_of(&code).unwrap()[0].result, EAX);
}

#[test]
fn a_guard_that_is_reached_from_elsewhere_guards_nothing() {
    let mut ops = count_or_error(Op::Test(RAX), Condition::AtMostZero);
    ops.extend([Op::Set(RAX, 1), Op::Jump(3)]);
    ops[1] = Op::Branch(Condition::Equal, 7);
    assert_eq!(Found::exits(&ops), [(6, 0, EAX)]);
}

#[test]
fn a_frame_pointer_determines_the_stack() {
    let ops = [
        Op::Push(RBP),
        Op::Copy(RBP, RSP),
        Op::AlignStack,
        Op::Jump(4), // rsp is not known here.
        Op::LoadLow(RAX, RBP, -4),
        Op::Leave,
        Op::Return,
    ];
    assert_eq!(Found::exits(&ops), [(6, 0, EAX)]);
    let ops = [
        Op::Push(RBP),
        Op::Copy(RBP, RSP),
        Op::Add(RSP, -16),
        Op::Jump(4),
        Op::LoadLow(RAX, RBP, -4),
        Op::Leave,
        Op::Return,
    ];
    assert_eq!(Found::exits(&ops), [(3, 24, Location::Stack(12))]);
}

#[test]
fn a_return_with_another_stack_is_refused() {
    let moved = |op| {
        let unknown = placed(&[op, Op::Return], &[], Some(Width::Int));
        assert!(matches!(unknown, Err(Unplaced::UnknownStack(_))), "{op:?}: {unknown:?}");
    };
    moved(Op::Push(RBX));
    moved(Op::Pop(RBX));
    moved(Op::AlignStack);
    moved(Op::Copy(RSP, RBX));
    let replaced = [Op::Pop(RAX), Op::Push(RBX), Op::Return];
    let refused = placed(&replaced, &[], Some(Width::Int));
    assert!(matches!(refused, Err(Unplaced::UnknownStack(_))), "{refused:?}");
    let differs = [Op::Branch(Condition::Equal, 2), Op::Push(RBX), Op::Nop, Op::Return];
    let refused = placed(&differs, &[], Some(Width::Int));
    assert!(matches!(refused, Err(Unplaced::UnknownStack(_))), "{refused:?}");
}

#[test]
fn ways_out_other_than_returns_are_refused() {
    // jmp *%rax
    assert_eq!(exits_of(&[0xff, 0xe0]), Err(Unplaced::IndirectTailCall(0)));
    // push %rbx; jmp *%rax: with a frame it is a table.
    assert_eq!(exits_of(&[0x53, 0xff, 0xe0]), Err(Unplaced::Table(1)));
    // add %rdx,%rax; jmp *%rax; and jmp *(%rdx,%rax,8): a table without a frame.
    assert_eq!(exits_of(&[0x48, 0x01, 0xd0, 0xff, 0xe0]), Err(Unplaced::Table(3)));
    assert_eq!(exits_of(&[0xff, 0x24, 0xc2]), Err(Unplaced::Table(0)));
    // je +0x7b; ret
    assert_eq!(exits_of(&[0x74, 0x7b, 0xc3]), Err(Unplaced::TailCall(0)));
    // je +0x7b; jmp +0x79: both to the same place.
    let targets = vec![START + 0x7d];
    assert_eq!(exits_of(&[0x74, 0x7b, 0xeb, 0x79]), Err(Unplaced::TailCalls(targets)));
    // jmp to itself, and ud2
    assert_eq!(exits_of(&[0x90, 0xeb, 0xfe]), Err(Unplaced::NeverReturns));
    assert_eq!(exits_of(&[0x0f, 0x0b]), Err(Unplaced::NeverReturns));
}

#[test]
fn code_that_cannot_be_followed_is_refused() {
    assert_eq!(exits_of(&[]), Err(Unplaced::NoCode(0)));
    // nop, and no more.
    assert_eq!(exits_of(&[0x90]), Err(Unplaced::RunsOff(0)));
    // Not an instruction in 64-bit mode.
    assert_eq!(exits_of(&[0x90, 0x06, 0xc3]), Err(Unplaced::Undecodable(1)));
    // syscall; ret
    assert_eq!(exits_of(&[0x0f, 0x05, 0xc3]), Err(Unplaced::Unsupported(0)));
    // data16 jmp +0; ret
    assert_eq!(exits_of(&[0x66, 0xeb, 0x00, 0xc3]), Err(Unplaced::Unsupported(0)));
    // ret $8
    assert_eq!(exits_of(&[0xc2, 0x08, 0x00]), Err(Unplaced::Unsupported(0)));
    // call +1; pause; mov %rax,(%rsp); ret: a jump through rax that no predictor follows.
    let retpoline = [0xe8, 2, 0, 0, 0, 0xf3, 0x90, 0x48, 0x89, 0x04, 0x24, 0xc3];
    assert_eq!(exits_of(&retpoline), Err(Unplaced::Unsupported(0)));
    // je into the midst of the next: mov $0xc3c3c3c3,%eax; ret
    let overlapping = [0x74, 0x01, 0xb8, 0xc3, 0xc3, 0xc3, 0xc3, 0xc3];
    assert_eq!(exits_of(&overlapping), Err(Unplaced::Overlap(3)));
}

#[test]
fn whatever_its_code_a_function_has_an_entry() {
    for bytes in [&[0x90, 0x06][..], &[0xff, 0xe0], &[0x0f, 0x05], &[0xeb, 0xfe]] {
        assert_eq!(entry_of(bytes).address, START, "{bytes:x?}");
    }
}

#[test]
fn the_effects_of_a_call_after_an_unrelated_check_are_not_ignored() {
    // As after a canary's check, but without the check.
    let ops = [
        Op::Set(RAX, 1),
        Op::Test(RDX),
        Op::Branch(Condition::Unequal, 4),
        Op::Return,
        Op::Call,
        Op::Return,
    ];
    assert_eq!(Found::exits(&ops), [(3, 0, EAX), (5, 0, EAX)]);
    let canary = [ops[0], Op::CompareCanary(RDX), ops[2], ops[3], ops[4], ops[5]];
    assert_eq!(Found::exits(&canary), [(2, 0, EAX)]);
    // A call for a failed canary that is used for other purposes as well.
    let mut shared = canary.to_vec();
    shared[0] = Op::Branch(Condition::Equal, 4);
    let refused = placed(&shared, &[], Some(Width::Int));
    assert!(matches!(refused, Err(Unplaced::Unsupported(_))), "{refused:?}");
}

#[test]
fn parts_elsewhere_are_followed() {
    // push %rbx; je far; near: pop %rbx; ret ... far: mov $1,%eax; jmp near
    let near = [0x53, 0x0f, 0x84, 0xf9, 0x0f, 0x00, 0x00, 0x5b, 0xc3];
    let far = [0xb8, 1, 0, 0, 0, 0xe9, 0xfd, 0xef, 0xff, 0xff];
    let image = Image { segments: vec![(START, &near), (START + 0x1000, &far)] };
    let function = START..START + near.len() as u64;
    let wanted = Wanted { arguments: &[], result: Some(Width::Int) };
    let exits = place(&image, function.clone(), wanted).unwrap().exits;
    // The branch is not an exit, for rax may change after it; the jump back is not on all ways.
    assert_eq!(exits.len(), 1);
    assert_eq!((exits[0].address, exits[0].emulated), (START + 8, false));
    let image = Image { segments: vec![(START, &near)] };
    assert_eq!(place(&image, function, wanted), Err(Unplaced::NoCode(0x1000)));
}
