//! Pictures of state machines: DOT, Mermaid and SVG text.
//!
//! A [`Picture`] is a machine reduced to what a reader wants to see. The three writers take any
//! names at all: states get generated ids (`s0`, `s1`, …), and names only appear as escaped
//! labels. The same picture always gives the same bytes.
//!
//! The SVG is laid out here, without an outside program. The layout runs in layers from the
//! initial state downwards; see [`layout`].

mod arrows;
mod bends;
mod color;
mod coordinates;
mod dot;
mod label;
mod layers;
mod layout;
mod mermaid;
mod order;
mod parts;
mod ports;
mod scene;
mod spine;
mod svg;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod tracks;
mod xml;

/// A state machine, ready to be drawn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Picture {
    /// The name of the machine, used as the title.
    pub(crate) name: String,
    /// The states. Edges refer to them by position.
    pub(crate) states: Vec<Node>,
    /// The transitions. One that names a state out of range is not drawn.
    pub(crate) edges: Vec<Edge>,
}

/// One state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Node {
    /// The name, any text.
    pub(crate) name: String,
    /// A new instance starts here.
    pub(crate) initial: bool,
    /// An instance ends here.
    pub(crate) is_final: bool,
    /// The instance being shown is in this state.
    pub(crate) current: bool,
    /// A colour wished for by the definition. Any text; one that is not a colour is ignored.
    pub(crate) color: Option<String>,
    /// Actions run on entry.
    pub(crate) entry: Vec<String>,
    /// Actions run on exit.
    pub(crate) exit: Vec<String>,
}

/// One transition.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edge {
    /// Position of the state it leaves.
    pub(crate) from: usize,
    /// Position of the state it enters.
    pub(crate) to: usize,
    /// The event name, `*` for any event, or the duration of a timer.
    pub(crate) event: String,
    /// The transition is taken after a time; `event` is then a duration such as `30m`.
    pub(crate) timer: bool,
    /// Guards, all of which must hold.
    pub(crate) guards: Vec<String>,
    /// Actions run by the transition.
    pub(crate) actions: Vec<String>,
}

impl Picture {
    /// The machine as a Graphviz DOT digraph.
    pub(crate) fn to_dot(&self) -> String {
        dot::write(self)
    }

    /// The machine as a Mermaid `stateDiagram-v2`.
    pub(crate) fn to_mermaid(&self) -> String {
        mermaid::write(self)
    }

    /// The machine as one SVG document, without scripts or outside references.
    pub(crate) fn to_svg(&self) -> String {
        svg::write(self)
    }

    /// The edges whose two ends exist, in order.
    fn drawn_edges(&self) -> impl Iterator<Item = &Edge> {
        let count = self.states.len();
        self.edges.iter().filter(move |edge| edge.from < count && edge.to < count)
    }
}
