//! The beginning of a call.
//!
//! Only the straight line from the first instruction to the first branch is considered: every call
//! takes it, once, as long as nothing jumps back into it.

use iced_x86::FlowControl;

use super::graph::{Graph, Node, Way};
use super::symbolic::{Source, Value};
use super::{Entry, Unplaced, Width};
use crate::arch::{ARGUMENTS, Treatment};

/// Finds the best place: the earliest emulated instruction that is not a call, else an emulated
/// call, else the first instruction.
///
/// # Errors
/// The first instruction is met more than once in a call.
pub(super) fn find(graph: &Graph, arguments: &[Width]) -> Result<Entry, Unplaced> {
    if is_entered_again(graph, graph.start, &[]) {
        return Err(Unplaced::EntryLoop);
    }
    let mut best = Entry { address: graph.start, frame: 0, emulated: false };
    let mut line = Vec::new();
    let mut next = Some(graph.start);
    while let Some((&address, node)) = next.and_then(|next| graph.nodes.get_key_value(&next)) {
        if is_entered_again(graph, address, &line) {
            break;
        }
        let intact = arguments.iter().zip(ARGUMENTS).all(|(&width, register)| {
            is_intact(node.state.value(register), Source::Register(register), width)
        });
        if let Some(frame) = node.frame().filter(|_| intact && node.treatment.is_emulated()) {
            best = Entry { address, frame, emulated: true };
            if node.treatment == Treatment::Emulated {
                break;
            }
        }
        line.push(address);
        next = following(node);
    }
    Ok(best)
}

/// Returns the next instruction on the straight line, unless a branch or call ends it.
fn following(node: &Node) -> Option<u64> {
    let straight = node.instruction.flow_control() == FlowControl::Next;
    match node.successors[..] {
        [next] if straight => Some(next),
        _ => None,
    }
}

fn is_intact(value: Value, argument: Source, width: Width) -> bool {
    value == Value::Whole(argument) || (width == Width::Int && value == Value::Low(argument))
}

/// Returns whether a call could meet the instruction at `address` again, after having reached it
/// over the instructions of `line`. The target of a jump by a table is unknown, but the stack is
/// the same there.
fn is_entered_again(graph: &Graph, address: u64, line: &[u64]) -> bool {
    let stack = graph.nodes.get(&address).and_then(Node::stack);
    graph.nodes.iter().any(|(from, node)| match node.way {
        Way::Table => node.stack().is_none() || node.stack() == stack,
        _ => node.successors.contains(&address) && line.last() != Some(from),
    })
}
