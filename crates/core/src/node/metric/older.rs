//! The open windows of one metric and length except the newest: few, ordered by start, none for most metrics most of
//! the time. More than one is open only where samples may be late by more than the length of a window.

use super::open_window::OpenWindow;
use crate::model::TagId;

/// An open window that is not the newest.
pub(crate) struct OlderWindow {
    pub window: OpenWindow,
    /// The tags of the last sample to arrive in it.
    pub tags: TagId,
}

/// The open windows except the newest. The allocation has exactly their length.
#[derive(Default)]
pub(crate) struct OlderWindows(Box<[OlderWindow]>);

impl OlderWindows {
    /// Returns the number of windows.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the windows, the oldest first.
    pub fn iter(&self) -> std::slice::Iter<'_, OlderWindow> {
        self.0.iter()
    }

    /// Returns the windows, the oldest first.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, OlderWindow> {
        self.0.iter_mut()
    }

    /// Returns the oldest window.
    pub fn first(&self) -> Option<&OpenWindow> {
        self.0.first().map(|older| &older.window)
    }

    /// Returns the window that begins at `start_s`.
    pub fn find_mut(&mut self, start_s: u32) -> Option<&mut OlderWindow> {
        self.iter_mut().find(|o| o.window.start_s() == start_s)
    }

    /// Adds a window, whose start is not among them.
    pub fn insert(&mut self, older: OlderWindow) {
        let start_s = older.window.start_s();
        let at = self.0.partition_point(|o| o.window.start_s() < start_s);
        let mut windows = std::mem::take(&mut self.0).into_vec();
        windows.reserve_exact(1);
        windows.insert(at, older);
        self.0 = windows.into_boxed_slice();
    }

    /// Removes the oldest window.
    pub fn take_first(&mut self) -> Option<OlderWindow> {
        self.take(0)
    }

    /// Removes the latest window.
    pub fn take_last(&mut self) -> Option<OlderWindow> {
        self.take(self.len().checked_sub(1)?)
    }

    fn take(&mut self, at: usize) -> Option<OlderWindow> {
        if at >= self.len() {
            return None;
        }
        let mut windows = std::mem::take(&mut self.0).into_vec();
        let older = windows.remove(at);
        self.0 = windows.into_boxed_slice();
        Some(older)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn older(start_s: u32) -> OlderWindow {
        let window = OpenWindow::new(start_s);
        let tags = TagId::NONE;
        OlderWindow { window, tags }
    }

    #[test]
    fn older_windows_are_ordered_by_start() {
        let mut windows = OlderWindows::default();
        for start in [600, 0, 300] {
            windows.insert(older(start));
        }
        let starts: Vec<u32> = windows.iter().map(|o| o.window.start_s()).collect();
        assert_eq!(starts, [0, 300, 600]);
        assert_eq!(windows.first().map(OpenWindow::start_s), Some(0));
        assert!(windows.find_mut(300).is_some() && windows.find_mut(301).is_none());
        let taken = [windows.take_last(), windows.take_first()];
        let taken = taken.map(|o| o.map(|o| o.window.start_s()));
        assert_eq!((taken, windows.len()), ([Some(600), Some(0)], 1));
    }

    #[test]
    fn older_window_fits_the_size_class_of_64_bytes() {
        assert!(size_of::<OlderWindow>() <= 64);
    }
}
