"""Write the illustrative `revenue.csv`, the same bytes each time: `python -m workers.sample.generate`."""

import csv
import datetime as dt
import io
import random
from pathlib import Path

PATH = Path(__file__).with_name("revenue.csv")
ROWS = 2_600
SEED = 2026

ENTITIES = (
    "Atlantis Analytics",
    "Beispiel Maschinenbau GmbH",
    "Camelot Cables",
    "Dummy & Daughters",
    "El Dorado Foods",
    "Ejemplo Textil S.A.",
    "Esempio Ceramiche",
    "Exemple Électrique",
    "Fabel Fietsen",
    "Fictional Freight",
    "Figment Films",
    "Gullkorn Fantasi",
    "Hypothetical Hydro",
    "Imaginary Ink",
    "Invented Instruments, Inc.",
    "Kuvitteellinen Kahvi",
    "Lorem Ipsum Logistics",
    "Makebelieve Mills",
    "Mirage Motors",
    "Mock Turtle Marine",
    "Never-Never Networks",
    "Nowhere Nurseries",
    "Paper Moon Packaging",
    "Phantom Pharma",
    "Imaginary Pumps",
    "Przykład Przemysł",
    "Sample Solar",
    "Shangri-La Stone",
    "Specimen Steel",
    "Storybook Stores",
    'The "Unreal" Estate Office',
    "Unicorn Uniforms",
    "Utopia Utilities",
    "Wonderland Watches",
)

CURRENCIES = {
    "EUR": 4_000, "USD": 4_500, "GBP": 3_400, "CHF": 3_700, "JPY": 700_000, "SEK": 44_000, "NOK": 42_000,
    "DKK": 30_000, "PLN": 17_500, "CZK": 98_000, "HUF": 1_500_000, "RON": 21_000, "TRY": 200_000,
    "AUD": 6_400, "CAD": 6_200, "CNY": 30_000, "INR": 420_000, "BRL": 24_000, "KRW": 6_000_000, "ZAR": 75_000,
}  # fmt: skip
"""About forty euro in each currency, in hundredths of its unit."""

NO_CENTS_FROM = 500_000
"""Where forty euro are that many hundredths, nobody writes them."""

QUARTERS = {
    dt.date(2025, 7, 1): 4,
    dt.date(2025, 10, 1): 4,
    dt.date(2026, 1, 1): 5,
    dt.date(2026, 4, 1): 8,
    dt.date(2026, 7, 1): 79,
}
"""First day of a quarter and its share of the rows in percent."""

BAD_LINES = (
    "2026-02-30,Atlantis Analytics,1200.00,USD",
    "03/07/2026,Camelot Cables,815.40,GBP",
    'Q3,Figment Films,"1500.00",EUR',
    '2026-07-14,Mirage Motors,"12,500.00",USD',
    '2026-08-03,Esempio Ceramiche,"1.250,00",EUR',
    "2026-08-19,Phantom Pharma,1.5e3,CHF",
    "2026-09-02,Sample Solar,n/a,EUR",
    "2026-07-21,,640.00,EUR",
    "2026-09-09,   ,75.10,SEK",
    "2026-07-08,Unicorn Uniforms,310.00,usd",
    "2026-08-27,Specimen Steel,99.95,$",
    "2026-07-30,Imaginary Ink,420.00",
    "2026-09-15,Nowhere Nurseries,18,50,PLN",
    "2026-07-17,El Dorado Foods,9100.00,XYZ",
    "2026-09-22,Utopia Utilities,560.00,AED",
    "2026-08-05,Storybook Stores,1300.00,HRK",
    "2026-09-28,Paper Moon Packaging,88000.00,RUB",
)


def generate() -> str:
    """Give the text of the file: a header, and `ROWS` good lines with the bad ones spread among them."""
    chance = random.Random(SEED)  # noqa: S311 - a sample needs the same numbers each time, not secret ones
    lines = [_good_line(chance) for _ in range(ROWS)]
    step = ROWS // len(BAD_LINES)
    for number, bad in enumerate(BAD_LINES):
        lines.insert(number * (step + 1) + step // 2, bad)
    return "".join(f"{line}\n" for line in ["date,entity,amount,currency", *lines])


def _good_line(chance: random.Random) -> str:
    (start,) = chance.choices(list(QUARTERS), list(QUARTERS.values()))
    day = start + dt.timedelta(days=chance.randrange(90))
    # The further down the list an entity stands, the smaller it is, so that the bars of the chart differ.
    entity = chance.randrange(len(ENTITIES))
    currency = chance.choice(list(CURRENCIES))
    cents = CURRENCIES[currency] * chance.randint(20, 300) * (60 - entity) // 60 + chance.randrange(100)
    refund = "-" if chance.randrange(25) == 0 else ""
    whole = CURRENCIES[currency] >= NO_CENTS_FROM
    amount = f"{refund}{cents // 100}" + ("" if whole else f".{cents % 100:02d}")
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow((day.isoformat(), ENTITIES[entity], amount, currency))
    return out.getvalue()


if __name__ == "__main__":
    PATH.write_text(generate(), encoding="utf-8", newline="")
