//! Tables without lines: columns two spaces apart, no trailing spaces, no colours. What the daemon
//! learned from other nodes is cleaned before it reaches a terminal.

use comfy_table::{Cell, Table as Grid, TableStyle};

use crate::units::UNKNOWN;

/// A table under construction.
#[derive(Debug)]
pub(crate) struct Table(Grid);

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        let mut grid = Grid::new();
        grid.load_style(TableStyle::new());
        grid.set_header(header.iter().map(Cell::new));
        Self(grid)
    }

    /// Adds a row; an empty cell becomes `-`.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells.into_iter().map(|cell| {
            let cell = clean(&cell);
            Cell::new(if cell.is_empty() {
                UNKNOWN.to_owned()
            } else {
                cell
            })
        }));
    }

    /// The text, a newline after each line.
    pub(crate) fn render(mut self) -> String {
        for column in self.0.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.0
            .lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect()
    }
}

/// Replaces what could steer a terminal or forge a line: control characters and the invisible ones
/// that change the direction of text.
pub(crate) fn clean(text: &str) -> String {
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars()
        .map(|c| if harmful(c) { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_clean() {
        let mut table = Table::new(&["A", "LONG"]);
        table.row(["x\u{1b}[31m".to_owned(), String::new()]);
        table.row(["wide-cell".to_owned(), "b\u{202e}\n".to_owned()]);
        assert_eq!(
            table.render(),
            "A          LONG\nx?[31m     -\nwide-cell  b??\n"
        );
    }
}
