//! A report as a page of HTML that needs nothing else.
//!
//! Invariant: whatever stands in a cell is text, never markup.

use crate::table::Table;

/// The text of a cell or title.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A page with a table.
pub(super) fn page(title: &str, table: &Table) -> String {
    let row = |cells: &[String], tag: &str| {
        let cells = cells.iter().map(|cell| {
            let class = if cell.parse::<f64>().is_ok() {
                " class=\"n\""
            } else {
                ""
            };
            format!("<{tag}{class}>{}</{tag}>", escaped(cell))
        });
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let title = escaped(title);
    let body: String = table.rows().iter().map(|cells| row(cells, "td")).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{font-family:sans-serif}}table{{border-collapse:collapse}}\
         th,td{{padding:.2em .8em;border-bottom:1px solid #ccc;text-align:left}}\
         .n{{text-align:right}}</style></head>\n<body><h1>{title}</h1>\n<table>\n<thead>{}</thead>\n\
         <tbody>\n{body}</tbody>\n</table></body>\n</html>\n",
        row(table.head(), "th"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_text() {
        let mut table = Table::new(["name", "total"]);
        table.push(vec!["<b>&\"'".to_owned(), "1.5".to_owned()]);
        let page = page("a < b", &table);
        assert!(page.contains("<title>a &lt; b</title>"), "{page}");
        assert!(page.contains("<td>&lt;b&gt;&amp;&quot;&#39;</td><td class=\"n\">1.5</td>"));
    }
}
