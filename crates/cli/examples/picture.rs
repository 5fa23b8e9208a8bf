//! Turns a terminal's output (stdin, with its colours) into an SVG (stdout); `scripts/picture` draws the README's with it.

use std::io::Read;

use anstyle::{Color, RgbColor};
use anstyle_svg::{Term, WIN10_CONSOLE};

fn main() -> std::io::Result<()> {
    let mut output = String::new();
    std::io::stdin().read_to_string(&mut output)?;
    let term = Term::new()
        .palette(WIN10_CONSOLE)
        .fg_color(Color::Rgb(RgbColor(0xd8, 0xde, 0xe9)))
        .bg_color(Color::Rgb(RgbColor(0x16, 0x1b, 0x22)));
    print!("{}", term.render_svg(output.trim_end_matches(['\n', '\r'])));
    Ok(())
}
