//! The two windows in which each sample of a metric counts.

use super::Queue;
use std::ops::{Index, IndexMut};

/// A window of a metric: its length is a setting, its records go into the queue of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    Min,
    Hour,
}

impl Window {
    /// Both, the shorter first.
    pub const ALL: [Window; 2] = [Window::Min, Window::Hour];

    /// The queue of its records.
    pub const fn queue(self) -> Queue {
        match self {
            Window::Min => Queue::Min,
            Window::Hour => Queue::Hour,
        }
    }

    /// Returns the keyword of the commands.
    pub const fn name(self) -> &'static str {
        self.queue().name()
    }

    /// Its number in effects: 0 or 1.
    pub fn from_bit(is_hour: bool) -> Window {
        if is_hour { Window::Hour } else { Window::Min }
    }
}

/// A value for each window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerWindow<T>(pub [T; 2]);

impl<T> PerWindow<T> {
    /// The values of `f`.
    pub fn from_fn(mut f: impl FnMut(Window) -> T) -> PerWindow<T> {
        PerWindow([f(Window::Min), f(Window::Hour)])
    }
}

impl<T> Index<Window> for PerWindow<T> {
    type Output = T;

    #[inline]
    fn index(&self, window: Window) -> &T {
        let PerWindow([min, hour]) = self;
        match window {
            Window::Min => min,
            Window::Hour => hour,
        }
    }
}

impl<T> IndexMut<Window> for PerWindow<T> {
    #[inline]
    fn index_mut(&mut self, window: Window) -> &mut T {
        let PerWindow([min, hour]) = self;
        match window {
            Window::Min => min,
            Window::Hour => hour,
        }
    }
}
