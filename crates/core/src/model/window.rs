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

/// The lengths that a node keeps from its creation on, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    /// The lengths of its windows: that of HOUR is a multiple of that of MIN.
    pub windows_s: PerWindow<u32>,
    /// The length of the slots of INC metrics, which divides that of MIN.
    pub slot_s: u32,
}

impl Lengths {
    /// Returns the lengths for windows of MIN and HOUR. A MIN window that is not longer than a slot is the slot. Where
    /// the slots do not divide it, which settings cannot say but nodes of versions without slots may, they have the
    /// largest length that divides both.
    pub fn new([min_s, hour_s]: [u32; 2], slot_s: u32) -> Lengths {
        let (mut slot_s, mut rest_s) = (slot_s.min(min_s).max(1), min_s);
        while rest_s % slot_s != 0 {
            (slot_s, rest_s) = (rest_s % slot_s, slot_s);
        }
        Lengths {
            windows_s: PerWindow([min_s, hour_s]),
            slot_s,
        }
    }
}

impl Index<Window> for Lengths {
    type Output = u32;

    #[inline]
    fn index(&self, window: Window) -> &u32 {
        &self.windows_s[window]
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
