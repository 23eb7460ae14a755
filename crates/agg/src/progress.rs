//! Progress bars on standard error.

use indicatif::{ProgressBar, ProgressStyle};

/// Returns a progress bar, which shows itself on terminals only.
pub fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
