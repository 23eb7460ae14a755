//! The style and the tables that the status page and the page of `agg report` share.

use maud::{Markup, html};

/// A stylesheet: colours, text, tables and boxes. A page adds its own rules after it.
pub const STYLE: &str = include_str!("base.css");

/// A column of a table.
pub enum Column<'a> {
    /// Aligned to the left.
    Text(&'a str),
    /// Aligned to the right.
    Number(&'a str),
}

/// Returns a table in a region that scrolls by itself where the table is wider than the page.
pub fn table(label: &str, columns: &[Column], rows: &Markup) -> Markup {
    html! {
        div.table role="region" tabindex="0" aria-label=(label) {
            table {
                thead {
                    tr {
                        @for column in columns {
                            @match column {
                                Column::Text(title) => th scope="col" { (title) },
                                Column::Number(title) => th.n scope="col" { (title) },
                            }
                        }
                    }
                }
                tbody { (rows) }
            }
        }
    }
}
