//! The end of a call.
//!
//! Each `ret` is a valid place, but costs a single step. A place before it is valid as well under
//! two conditions. From there on nothing is called and nothing but the frame is written. On all
//! ways from there rax ends as a value that can be found at that place already. The second
//! condition is proven by carrying a state that names each register and each slot of the frame,
//! from there to every `ret`.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{ConditionCode, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};

use super::cover;
use super::graph::{Graph, Node, Way};
use super::symbolic::{Effect, Source, State, Value};
use super::{Exit, Location, Unplaced, Width};
use crate::arch::{RESULT, Treatment};

/// Cost of a trap, as counted by [`cover`]. A `ret` is single-stepped, at least ten times as
/// expensive as the others.
const EMULATED: u32 = 1;
const SINGLE_STEPPED: u32 = 12;

/// The longest distance from a comparison of the result to the branch that uses it.
const GUARD: usize = 3;

/// Finds the cheapest exits through which every return passes.
///
/// # Errors
/// There are ways out other than `ret`, or rsp is unknown at a `ret`.
pub(super) fn find(graph: &Graph, width: Width) -> Result<Vec<Exit>, Unplaced> {
    check_ways_out(graph)?;
    let returning = Reach::backwards(graph, |node| node.way == Way::Return);
    let busy = Reach::backwards(graph, |node| {
        node.effect == Effect::Elsewhere && returning.has(node.instruction.ip())
    });
    let mut proof =
        Proof { graph, returning: &returning, width, facts: InstructionInfoFactory::new() };
    let mut sites = BTreeMap::new();
    for (&address, node) in &graph.nodes {
        let quiet = returning.has(address) && !busy.has(address);
        let (Some(frame), true) = (node.frame(), quiet) else { continue };
        let (emulated, result) = match node.way {
            Way::Return => (false, Some(Location::Register(RESULT))),
            _ if node.treatment == Treatment::Emulated && !is_repeated(graph, address) => {
                (true, proof.result_at(node))
            }
            _ => continue,
        };
        if let Some(result) = result {
            sites.insert(address, Exit { address, frame, result, emulated });
        }
    }
    let cost = |address| {
        let site = sites.get(&address)?;
        Some(if site.emulated { EMULATED } else { SINGLE_STEPPED })
    };
    let chosen = cover::cheapest(graph, cost);
    if chosen.is_empty() {
        return Err(Unplaced::NeverReturns);
    }
    Ok(chosen.iter().filter_map(|address| sites.get(address).copied()).collect())
}

/// Checks that the function is left by `ret` only, with rsp where it was.
fn check_ways_out(graph: &Graph) -> Result<(), Unplaced> {
    let mut tail_calls = Vec::new();
    let mut first_tail_call = None;
    let mut returns = false;
    for (&address, node) in &graph.nodes {
        let offset = graph.offset(address);
        match node.way {
            Way::On | Way::Stop => {}
            Way::Return if node.stack() == Some(0) => returns = true,
            Way::Return => return Err(Unplaced::UnknownStack(offset)),
            Way::Table => return Err(Unplaced::Table(offset)),
            Way::IndirectTailCall => return Err(Unplaced::IndirectTailCall(offset)),
            Way::TailCall(target) => {
                first_tail_call = first_tail_call.or(Some(offset));
                if !tail_calls.contains(&target) {
                    tail_calls.push(target);
                }
            }
        }
    }
    match first_tail_call {
        Some(offset) if returns => Err(Unplaced::TailCall(offset)),
        Some(_) => Err(Unplaced::TailCalls(tail_calls)),
        None if returns => Ok(()),
        None => Err(Unplaced::NeverReturns),
    }
}

/// Returns whether an instruction can be met twice in a call: each time would cost a trap.
fn is_repeated(graph: &Graph, address: u64) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![address];
    while let Some(node) = open.pop().and_then(|address| graph.nodes.get(&address)) {
        for &successor in &node.successors {
            if successor == address {
                return true;
            }
            if seen.insert(successor) {
                open.push(successor);
            }
        }
    }
    false
}

/// The instructions from which a given set can be reached, including the set.
struct Reach(BTreeSet<u64>);

impl Reach {
    fn backwards(graph: &Graph, is_target: impl Fn(&Node) -> bool) -> Self {
        let mut before: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (&address, node) in &graph.nodes {
            for &successor in &node.successors {
                before.entry(successor).or_default().push(address);
            }
        }
        let targets = graph.nodes.iter().filter(|(_, node)| is_target(node));
        let mut open: Vec<u64> = targets.map(|(&address, _)| address).collect();
        let mut found: BTreeSet<u64> = open.iter().copied().collect();
        while let Some(address) = open.pop() {
            for &previous in before.get(&address).into_iter().flatten() {
                if found.insert(previous) {
                    open.push(previous);
                }
            }
        }
        Self(found)
    }

    fn has(&self, address: u64) -> bool {
        self.0.contains(&address)
    }
}

/// The state for following the result from a place to every `ret`.
struct Proof<'a> {
    graph: &'a Graph,
    /// Only these are followed: other ways return no result.
    returning: &'a Reach,
    width: Width,
    facts: InstructionInfoFactory,
}

impl Proof<'_> {
    /// Returns the place where the result of every call that meets `site` is found there.
    fn result_at(&mut self, site: &Node) -> Option<Location> {
        let mut after = site.state.restarted();
        after.step(&site.instruction, &mut self.facts);
        let mut results = Vec::new();
        for &successor in &site.successors {
            if let Some(result) = self.result_from(successor, &after) {
                results.push((successor, result));
            }
        }
        let stack = site.stack()?;
        match results[..] {
            [(_, one)] => location(one, self.width, stack),
            [(_, one), (_, two)] if one == two => location(one, self.width, stack),
            [one, two] => self.guarded(site, [one, two], stack),
            _ => None,
        }
    }

    /// Returns the known value of rax at every `ret` that is reached from `start`. `None` if no
    /// `ret` is reached.
    fn result_from(&mut self, start: u64, state: &State) -> Option<Value> {
        let mut entered = BTreeMap::from([(start, state.clone())]);
        let mut open = BTreeSet::from([start]);
        let mut result = None;
        // This ends because a state can only lose knowledge.
        while let Some(address) = open.pop_first() {
            let Some(node) = self.graph.nodes.get(&address) else { continue };
            let Some(mut state) = entered.get(&address).cloned() else { continue };
            if !self.returning.has(address) {
                continue;
            }
            if node.way == Way::Return {
                let value = state.value(RESULT);
                result = Some(result.map_or(value, |known: Value| known.join(value)));
            }
            state.step(&node.instruction, &mut self.facts);
            for &successor in &node.successors {
                let changed = match entered.get_mut(&successor) {
                    Some(known) => known.join(&state),
                    None => entered.insert(successor, state.clone()).is_none(),
                };
                if changed {
                    open.insert(successor);
                }
            }
        }
        result
    }

    /// `test %eax,%eax; jle ...`: on one way the result is eax unchanged, 0 or less; on the other
    /// it is a slot of the frame. Functions return a number of bytes in this manner.
    fn guarded(&self, site: &Node, results: [(u64, Value); 2], stack: i64) -> Option<Location> {
        let branch = &site.instruction;
        let at_most_zero = match branch.condition_code() {
            ConditionCode::le => branch.near_branch_target(),
            ConditionCode::g => branch.next_ip(),
            _ => return None,
        };
        let [one, two] = results;
        let (kept, loaded) = if one.0 == at_most_zero { (one.1, two.1) } else { (two.1, one.1) };
        let kept = location(kept, self.width, stack)?;
        let loaded = location(loaded, self.width, stack)?;
        match (self.width, kept, loaded) {
            (Width::Int, Location::Register(RESULT), Location::Stack(offset))
                if self.compares_result(branch) =>
            {
                Some(Location::Guarded(offset))
            }
            _ => None,
        }
    }

    /// Returns whether a branch depends on a comparison of eax with 0, and on nothing else.
    fn compares_result(&self, branch: &Instruction) -> bool {
        let mut next = branch.ip();
        for _ in 0..GUARD {
            let mut before =
                self.graph.nodes.iter().filter(|(_, node)| node.successors.contains(&next));
            let (Some((&address, node)), None) = (before.next(), before.next()) else {
                return false;
            };
            if next == self.graph.start {
                return false;
            }
            let instruction = &node.instruction;
            if compares_eax_with_zero(instruction) {
                return true;
            }
            // Instructions that leave flags and registers alone may come in between.
            if !is_store(instruction) {
                return false;
            }
            next = address;
        }
        false
    }
}

fn compares_eax_with_zero(instruction: &Instruction) -> bool {
    let eax = instruction.op0_register() == Register::EAX;
    match instruction.mnemonic() {
        Mnemonic::Test => eax && instruction.op1_register() == Register::EAX,
        Mnemonic::Cmp => {
            eax && matches!(instruction.op1_kind(), OpKind::Immediate8to32 | OpKind::Immediate32)
                && instruction.immediate(1) == 0
        }
        _ => false,
    }
}

/// Returns whether this is a plain `mov` to memory.
fn is_store(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Mov && instruction.op0_kind() == OpKind::Memory
}

/// Expresses a value relative to a place at which rsp is `stack` bytes from its initial value.
fn location(value: Value, width: Width, stack: i64) -> Option<Location> {
    let source = match (value, width) {
        (Value::Whole(source), _) | (Value::Low(source), Width::Int) => source,
        _ => return None,
    };
    match source {
        Source::Register(register) => Some(Location::Register(register)),
        Source::Slot(offset) => u32::try_from(offset.checked_sub(stack)?).ok().map(Location::Stack),
    }
}
