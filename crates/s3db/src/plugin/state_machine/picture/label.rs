//! The words on a transition and on a state, shared by the three formats.

use super::text::clean;
use super::{Edge, Node};

/// The words on one transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    /// The event, `*`, or `after 30m`.
    pub(super) event: String,
    /// `[a and b]`.
    pub(super) guard: Option<String>,
    /// `/ a, b`.
    pub(super) action: Option<String>,
    /// The transition is taken after a time.
    pub(super) timer: bool,
}

impl Label {
    /// The words for an edge.
    pub(super) fn of(edge: &Edge) -> Self {
        let event = clean(&edge.event);
        Self {
            event: if edge.timer { format!("after {event}") } else { event },
            guard: joined(&edge.guards, " and ").map(|all| format!("[{all}]")),
            action: joined(&edge.actions, ", ").map(|all| format!("/ {all}")),
            timer: edge.timer,
        }
    }

    /// The words with their roles, in reading order.
    pub(super) fn parts(&self) -> impl Iterator<Item = (Role, &str)> {
        let guard = self.guard.iter().map(|text| (Role::Guard, text.as_str()));
        let action = self.action.iter().map(|text| (Role::Action, text.as_str()));
        std::iter::once((Role::Event, self.event.as_str())).chain(guard).chain(action)
    }

    /// The words on one line.
    pub(super) fn line(&self) -> String {
        let words: Vec<&str> = self.parts().map(|(_, text)| text).collect();
        words.join(" ")
    }
}

/// What a part of a label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// What sets the transition off.
    Event,
    /// What must hold.
    Guard,
    /// What is run.
    Action,
}

/// The lines under the name of a state: `entry / a, b` and `exit / c`.
pub(super) fn behaviour(node: &Node) -> Vec<String> {
    let entry = joined(&node.entry, ", ").map(|all| format!("entry / {all}"));
    let exit = joined(&node.exit, ", ").map(|all| format!("exit / {all}"));
    entry.into_iter().chain(exit).collect()
}

/// The names joined, or nothing when there are none.
fn joined(names: &[String], between: &str) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let names: Vec<String> = names.iter().map(|name| clean(name)).collect();
    Some(names.join(between))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_are_bracketed_and_actions_follow_a_slash() {
        let edge = Edge {
            event: "SHIP".into(),
            guards: vec!["canShip".into(), "paid".into()],
            actions: vec!["print".into(), "mail".into()],
            ..Edge::default()
        };
        assert_eq!(Label::of(&edge).line(), "SHIP [canShip and paid] / print, mail");
    }

    #[test]
    fn a_timer_reads_after_its_duration() {
        let edge = Edge { event: "30m".into(), timer: true, ..Edge::default() };
        assert_eq!(Label::of(&edge).line(), "after 30m");
    }

    #[test]
    fn behaviour_names_entry_before_exit() {
        let node = Node { entry: vec!["a".into(), "b".into()], exit: vec!["c".into()], ..Node::default() };
        assert_eq!(behaviour(&node), ["entry / a, b", "exit / c"]);
        assert!(behaviour(&Node::default()).is_empty());
    }
}
