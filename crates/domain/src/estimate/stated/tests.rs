//! Offers and deadlines as people word them, and the amounts and durations that only look like them.

use super::plain_number;
use crate::estimate::estimate;

fn stated_price(prompt: &str) -> Option<i64> {
    let estimate = estimate(prompt);
    estimate.basis.split(". Time").next()?.contains("as the prompt says").then_some(estimate.price_cents)
}

fn stated_time(prompt: &str) -> Option<i64> {
    let estimate = estimate(prompt);
    estimate.basis.split(". Time").nth(1)?.contains("as the prompt says").then_some(estimate.time_limit_seconds)
}

#[test]
fn a_price_that_the_prompt_offers_is_taken() {
    let offers = [
        ("Count to 3, budget $15", 1500),
        ("Count to 3. My budget is around $12.", 1200),
        ("Count to 3. I'd pay 7.50 USD for it", 750),
        ("Count to 3. I’m willing to pay up to US$1,000.", 100_000),
        ("Count to 3. Reward: 20 dollars!", 2000),
        ("Count to 3 ($9 budget).", 900),
        ("Count to 3. $4 for this job.", 400),
        ("Count to 3. Offering $10-15.", 1500),
        ("Count to 3. We will pay you $5 to $8.", 800),
        ("Count to 3. I pay $5.", 500),
        ("Count to 3. This job pays $5.", 500),
        ("Count to 3. My price is $5.", 500),
        ("Count to 3. I can offer $5.", 500),
        ("Count to 3. Payment: $5.", 500),
        ("Count to 3. $4 USD for this job.", 400),
        ("Count to 3. Budget: USD 15.", 1500),
        ("Count to 3. Budget: 15usd.", 1500),
    ];
    for (prompt, cents) in offers {
        assert_eq!(stated_price(prompt), Some(cents), "{prompt}");
    }
    assert_eq!(estimate("Count to 3. I'd pay 50 cents.").price_cents, 100);
}

#[test]
fn a_number_that_may_mean_something_else_is_no_amount() {
    assert_eq!(plain_number("1,234,567.5"), Some(1_234_567.5));
    for other in [".5", "5e3", "inf", "-5", "+5", "7,50", "12,3456", "1.2.3", "1234567890123", ""] {
        assert_eq!(plain_number(other), None, "{other}");
    }
}

#[test]
fn amounts_in_the_data_are_no_price() {
    let traps = [
        "Sum the invoices: $12, $30 and $45.50.",
        "The price is $30 and the discount 20%. What is the final price?",
        "Plan a trip with a budget of $800 for two people.",
        "The marketing budget is $5000; split it.",
        "Split it. The budget is $300 for rent and $200 for food.",
        "Write a product text.\nName: Mug\nPrice: $12",
        "Count the words in \"I will pay $5\".",
        "Add this up.\n```\nBudget: $15\n```",
        "Ada must pay $12 to Bob. What is left of $20?",
        "Explain why people pay $5 for coffee.",
        "Explain why I pay $5 for coffee.",
        "Pay $12 to Bob and tell me what is left.",
        "Write a slogan: we can offer $5 off everything.",
        "Type in my receipts. I will pay $2 per receipt.",
        "Sort the mail below.\n\nHi team,\nI will pay $20 within 2 hours.",
    ];
    for prompt in traps {
        assert_eq!(stated_price(prompt), None, "{prompt}");
    }
}

#[test]
fn a_time_limit_that_the_prompt_sets_is_taken() {
    let limits = [
        ("Count to 3 within 2 hours", 7200),
        ("Count to 3. I need this done in 30 minutes.", 1800),
        ("Count to 3. Time limit: 20 min", 1200),
        ("Count to 3. Deadline is 90min.", 5400),
        ("Count to 3. You have 45 minutes.", 2700),
        ("Count to 3. Please deliver within an hour.", 3600),
        ("Count to 3. It has to be finished in half an hour.", 1800),
        ("Count to 3. Needed within a day!", 86_400),
        ("Count to 3. Deliver within three hours.", 10_800),
        ("Count to 3. Deliver within 90 seconds.", 90),
        ("Within two hours count to 3.", 7200),
        ("Deliver within 2 hours a count to 3.", 7200),
        ("Please count within 2 hours up to 3.", 7200),
        ("Count to 3. I want it in 2 hours.", 7200),
    ];
    for (prompt, seconds) in limits {
        assert_eq!(stated_time(prompt), Some(seconds), "{prompt}");
    }
    let beyond = estimate("Count to 3. Deliver within 9 days.");
    assert_eq!(beyond.time_limit_seconds, 86_400);
    assert!(beyond.basis.contains("brought within the limits"), "{}", beyond.basis);
}

#[test]
fn durations_in_the_data_are_no_time_limit() {
    let traps = [
        "Count to 3 by tomorrow.",
        "Find a recipe that can be cooked in 30 minutes.",
        "Write a script that must finish within 5 minutes.",
        "How far does a train get in 2 hours?",
        "The API must answer within 90 seconds.",
        "Write a story about 24 hours in Rome.",
        "Please plan a workout I can do in 30 minutes.",
        "List the lakes reachable within 2 hours.",
        "List the towns within 2 hours of Rome.",
        "Limit of 2 hours? Explain that sign.",
        "Name the films whose age limit is 2 days.",
        "Name a film. Its running time is 90 minutes.",
        "Explain how to get it in 2 hours.",
        "They have 2 hours. Name a film.",
        "You have 2 hours before the train leaves. Name a film.",
        "Deliver within half the time.",
        "Deliver within half a mile.",
        "Deliver within our lunch hour.",
        "Deliver within the first lunch hour.",
        "Deliver within 0 minutes.",
        "Translate this.\n```\nDone within 3 days, please.\n```",
        "Sort the mail below.\n\nHi team,\nPlease answer within 2 hours.",
    ];
    for prompt in traps {
        assert_eq!(stated_time(prompt), None, "{prompt}");
    }
}
