"""Where the bars of a chart stand."""

from clipworks.serve.site.money import dollars
from clipworks.serve.site.usage_chart import HEIGHT, MAX_SERIES, OTHERS, WIDTH, chart_of, daily_chart
from clipworks.serve.usage import UsageRow

DAYS = ("2026-11-20", "2026-11-21")


def test_bars_stand_on_each_other_and_the_highest_day_fills_the_drawing() -> None:
    amounts = {(DAYS[0], "a"): 30, (DAYS[0], "b"): 10, (DAYS[1], "b"): 25}
    chart = daily_chart(DAYS, amounts)
    assert (chart.series, chart.highest) == (("b", "a"), 40)
    lower, upper, second = chart.bars
    assert (lower.y + lower.height, lower.height, lower.series) == (HEIGHT, 25.0, 0)
    assert (upper.y, upper.y + upper.height) == (0.0, lower.y)
    assert second.x > lower.x + lower.width and second.x + second.width < WIDTH
    assert second.label == "2026-11-21 b"


def test_the_smallest_series_are_one_and_a_name_of_theirs_is_no_trap() -> None:
    amounts = {(DAYS[0], f"model {n}"): 10 - n for n in range(9)} | {(DAYS[1], "others"): 1}
    chart = daily_chart(DAYS, amounts)
    assert len(chart.series) == MAX_SERIES and chart.series[-1] == OTHERS
    assert sum(bar.height for bar in chart.bars if bar.label.startswith(DAYS[0])) > HEIGHT - 0.1


def test_nothing_is_an_empty_drawing() -> None:
    chart = daily_chart(DAYS, {})
    assert (chart.bars, chart.series, chart.highest, chart.days) == ((), (), 0, DAYS)


def test_rows_become_days_without_a_gap_and_what_was_given_back_is_no_bar_below() -> None:
    row = UsageRow(
        day="2026-11-20",
        model="m",
        key_id="key_1",
        key_name="app",
        requests=1,
        images=1,
        texts=0,
        cost_micro_usd=-5,
    )
    chart = chart_of([row], "2026-11-19", "2026-11-22", by="key")
    assert chart.days == ("2026-11-19", "2026-11-20", "2026-11-21", "2026-11-22")
    assert chart.series == ("app",) and chart.bars == ()


def test_amounts_are_told_as_people_write_them() -> None:
    told = [dollars(amount) for amount in (0, 12, 1_000_000, 1_234_567_890_000, -2_500_000, 100_000)]
    assert told == ["$0.00", "$0.000012", "$1.00", "$1,234,567.89", "−$2.50", "$0.10"]
