//! Many things, a row each: no borders, the width of the terminal, one line a row.

use comfy_table::{Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row};

use super::{Shape, Tone, clean};

/// How a column behaves.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    name: &'static str,
    right: bool,
    shrinks: bool,
}

/// A column whose content is always shown whole.
pub(crate) const fn left(name: &'static str) -> Column {
    Column { name, right: false, shrinks: false }
}

/// A column of amounts, aligned to the right.
pub(crate) const fn right(name: &'static str) -> Column {
    Column { name, right: true, shrinks: false }
}

/// A column that is cut where the terminal is too narrow.
pub(crate) const fn wide(name: &'static str) -> Column {
    Column { name, right: false, shrinks: true }
}

/// One value in a table.
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A plain value.
    pub(crate) fn new(text: impl AsRef<str>) -> Self {
        Self::toned(text, Tone::Plain)
    }

    /// A value in a tone.
    pub(crate) fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: clean(text.as_ref(), Shape::Line), tone }
    }
}

/// A table; every value in it is harmless.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table with these columns.
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// One more row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells.into());
    }

    /// The table as text, without a line break at its end.
    pub(super) fn render(&self) -> String {
        let mut table = comfy_table::Table::new();
        // Styles are always written; the stream takes them out where they are not wanted.
        table.load_style(comfy_table::presets::NOTHING).enforce_styling();
        if table.width().is_some() {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
        let header = self.columns.iter().map(|column| cell(column.name, Tone::Quiet));
        let mut header = Row::from(header.collect::<Vec<_>>());
        header.max_height(1);
        table.set_header(header);
        for cells in &self.rows {
            let mut row = Row::from(cells.iter().map(|value| cell(&value.text, value.tone)).collect::<Vec<_>>());
            row.max_height(1);
            table.add_row(row);
        }
        for (column, shown) in self.columns.iter().zip(table.column_iter_mut()) {
            shown.set_padding((0, 2));
            if column.right {
                shown.set_cell_alignment(CellAlignment::Right);
            }
            if !column.shrinks {
                shown.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        table.lines().map(|line| trimmed(&line)).collect::<Vec<_>>().join("\n")
    }
}

/// A line without the spaces at its end, also those before the styles that end there.
fn trimmed(line: &str) -> String {
    let (mut text, mut styles) = (line.trim_end(), String::new());
    while let Some((before, style)) = text.rsplit_once('\u{1b}').filter(|(_, style)| is_style(style)) {
        styles.insert_str(0, &format!("\u{1b}{style}"));
        text = before.trim_end();
    }
    text.to_owned() + &styles
}

fn is_style(sequence: &str) -> bool {
    let codes = sequence.strip_prefix('[').and_then(|rest| rest.strip_suffix('m'));
    codes.is_some_and(|codes| codes.chars().all(|c| c.is_ascii_digit() || c == ';'))
}

fn cell(text: &str, tone: Tone) -> comfy_table::Cell {
    let cell = comfy_table::Cell::new(text);
    match tone {
        Tone::Plain => cell,
        Tone::Strong => cell.add_attribute(Attribute::Bold),
        Tone::Quiet => cell.add_attribute(Attribute::Dim),
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Bad => cell.fg(Color::DarkRed),
        Tone::Busy => cell.fg(Color::DarkYellow),
    }
}
