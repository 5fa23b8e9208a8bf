//! The fourteen prompts that people post in the demo, exactly as they typed them.
//! Thirteen can be worked by the programs beside this file; the poem is beyond them and ends in a refund.

/// Every prompt with its short name, in the order the demo posts them.
pub(crate) fn prompts() -> [(&'static str, &'static str); 14] {
    [
        ("essay-word-count", include_str!("../../demo/essay-word-count.md")),
        ("invoice-totals", include_str!("../../demo/invoice-totals.md")),
        ("permit-deadlines", include_str!("../../demo/permit-deadlines.md")),
        ("acrostic-poem", include_str!("../../demo/acrostic-poem.md")),
        ("newsletter-list", include_str!("../../demo/newsletter-list.md")),
        ("stock-json", include_str!("../../demo/stock-json.md")),
        ("checkout-log", include_str!("../../demo/checkout-log.md")),
        ("lease-changes", include_str!("../../demo/lease-changes.md")),
        ("haushaltsbuch", include_str!("../../demo/haushaltsbuch.md")),
        ("club-birthdays", include_str!("../../demo/club-birthdays.md")),
        ("links-from-minutes", include_str!("../../demo/links-from-minutes.md")),
        ("orders-with-names", include_str!("../../demo/orders-with-names.md")),
        ("acceptance-musts", include_str!("../../demo/acceptance-musts.md")),
        ("recipe-to-metric", include_str!("../../demo/recipe-to-metric.md")),
    ]
}
