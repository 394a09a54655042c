# A shop's server with Segment's own library for Python. In: where to send, and the write key. Out: the ids of its messages, one a line.
import sys

from segment.analytics.client import Client

host, write_key = sys.argv[1:]
failures = []
client = Client(write_key, host=host, gzip=True, on_error=lambda error, items: failures.append(error), max_retries=3)

user = "python-user"
messages = [
    client.identify(
        user,
        {"email": "python@example.com", "firstName": "Python", "consent": {"email": True}, "tier": "gold"},
        anonymous_id="python-visitor",
    ),
    client.page(anonymous_id="python-visitor", name="Home", properties={"url": "https://shop.example/"}),
    client.screen(user, name="Cart"),
    client.alias("python-user-of-old", user),
    client.group(user, "g1", {"name": "Group"}),
    client.track(
        user, "Product Added", {"cart_id": "python-cart", "sku": "PYTHON-1", "price": 19.9, "quantity": 2}
    ),
]
client.shutdown()
for taken, message in messages:
    assert taken, message
    print(message["messageId"])
sys.exit(f"{failures}" if failures else 0)
