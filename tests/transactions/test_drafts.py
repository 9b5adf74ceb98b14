"""What is about to be written says of itself what the row will say."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tests.transactions.test_serializers import money, texts, values
from transactions.drafts import Draft
from transactions.money import parse_amount
from transactions.serializers import dumps, represent

MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda moment: moment.replace(tzinfo=UTC))


@given(
    money(),
    st.sampled_from(["50880050/0194804000888", "A b.c:d-e"]),
    st.none() | texts.filter(bool),
    texts,
    st.dictionaries(texts, values, max_size=4),
    st.none() | MOMENTS,
)
def test_the_template_writes_what_the_encoder_would(amount, account_number, external_id, description, metadata, date):
    draft = Draft(
        account_number=account_number,
        amount=parse_amount(*amount),
        currency=amount[1],
        direction="credit",
        external_id=external_id,
        description=description,
        metadata=metadata,
        transaction_date=date,
    )
    assert draft.text == dumps(represent(draft))
    assert draft.key == str(draft.id)
