//! The cheapest set of places that every way through a function meets.
//!
//! This is a minimum cut: let each place be a valve as wide as its cost and everything else
//! infinitely wide. The least set of valves to close so that nothing flows from the first
//! instruction to a `ret` is the set that the greatest flow fills (Ford and Fulkerson). Of several
//! cheapest cuts the cut nearest to the `ret`s is taken.

use std::collections::{BTreeMap, VecDeque};

use super::graph::{Graph, Way};

/// Wider than all costs together.
const INFINITE: u32 = u32::MAX / 4;

/// Chooses among the instructions for which `cost` returns a cost, in ascending order. Each `ret`
/// must have a cost.
pub(super) fn cheapest(graph: &Graph, cost: impl Fn(u64) -> Option<u32>) -> Vec<u64> {
    let mut network = Network::of(graph, &cost);
    while network.push_more() {}
    let sides = network.reaching_sink();
    let separated = |&(index, _): &(usize, &u64)| !sides[2 * index] && sides[2 * index + 1];
    graph.nodes.keys().enumerate().filter(separated).map(|(_, &address)| address).collect()
}

/// A pipe. Its other direction is at the index with the lowest bit flipped.
struct Pipe {
    to: usize,
    /// The remaining capacity.
    room: u32,
}

/// Each instruction is two points, 2n before and 2n + 1 behind its valve; the source is the
/// first instruction, the sink an additional point.
struct Network {
    pipes: Vec<Pipe>,
    /// For each point the pipes that begin there.
    from: Vec<Vec<usize>>,
    source: usize,
    sink: usize,
}

impl Network {
    fn of(graph: &Graph, cost: impl Fn(u64) -> Option<u32>) -> Self {
        let index: BTreeMap<u64, usize> =
            graph.nodes.keys().enumerate().map(|(index, &address)| (address, index)).collect();
        let sink = 2 * index.len();
        let source = index.get(&graph.start).map_or(sink, |index| 2 * index);
        let mut network =
            Self { pipes: Vec::new(), from: vec![Vec::new(); sink + 1], source, sink };
        for ((&address, node), n) in graph.nodes.iter().zip(0..) {
            network.add(2 * n, 2 * n + 1, cost(address).unwrap_or(INFINITE));
            for to in node.successors.iter().filter_map(|successor| index.get(successor)) {
                network.add(2 * n + 1, 2 * to, INFINITE);
            }
            if node.way == Way::Return {
                network.add(2 * n + 1, sink, INFINITE);
            }
        }
        network
    }

    fn add(&mut self, from: usize, to: usize, room: u32) {
        self.from[from].push(self.pipes.len());
        self.pipes.push(Pipe { to, room });
        self.from[to].push(self.pipes.len());
        self.pipes.push(Pipe { to: from, room: 0 });
    }

    /// Sends as much as possible along a shortest way with room. `false` if there is none.
    fn push_more(&mut self) -> bool {
        let mut came_by = vec![None; self.from.len()];
        let mut open = VecDeque::from([self.source]);
        while let Some(point) = open.pop_front() {
            for &pipe in &self.from[point] {
                let Pipe { to, room } = self.pipes[pipe];
                if room > 0 && to != self.source && came_by[to].is_none() {
                    came_by[to] = Some(pipe);
                    open.push_back(to);
                }
            }
        }
        let mut way = Vec::new();
        let mut point = self.sink;
        while let Some(pipe) = came_by[point] {
            way.push(pipe);
            point = self.pipes[pipe ^ 1].to;
        }
        let amount = way.iter().map(|&pipe| self.pipes[pipe].room).min().unwrap_or(0);
        for pipe in way {
            self.pipes[pipe].room -= amount;
            self.pipes[pipe ^ 1].room += amount;
        }
        amount > 0
    }

    /// Returns for each point whether more could flow from there to the sink.
    fn reaching_sink(&self) -> Vec<bool> {
        let mut reaching = vec![false; self.from.len()];
        reaching[self.sink] = true;
        let mut open = vec![self.sink];
        while let Some(point) = open.pop() {
            for &pipe in &self.from[point] {
                // The pipe that ends here is the reverse of a pipe that begins here.
                let Pipe { to: before, .. } = self.pipes[pipe];
                if self.pipes[pipe ^ 1].room > 0 && !reaching[before] {
                    reaching[before] = true;
                    open.push(before);
                }
            }
        }
        reaching
    }
}
