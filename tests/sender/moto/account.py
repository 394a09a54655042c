"""An account of Amazon's on this machine: moto, where shop@example.com may send and the user `beckon` may ask for it.

Says a line of JSON, {url, access_key_id, secret}; then, for each line that it hears, one with the mails that SES took. Ends with its
standard input. Every request after the first line has to be signed as botocore would sign it.
"""

import json
import sys

import boto3
import moto.core.responses as responses
from moto.server import ThreadedMotoServer
from moto.ses.models import ses_backends

REGION = "eu-west-1"
MAY_SEND = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ses:SendEmail", "Resource": "*"}]}


def say(what):
    print(json.dumps(what), flush=True)


server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
url = "http://{}:{}".format(*server.get_host_and_port())


def service(name):
    return boto3.client(
        name, endpoint_url=url, region_name=REGION, aws_access_key_id="setup", aws_secret_access_key="setup"
    )


service("sesv2").create_email_identity(EmailIdentity="shop@example.com")
iam = service("iam")
iam.create_user(UserName="beckon")
iam.put_user_policy(UserName="beckon", PolicyName="may-send", PolicyDocument=json.dumps(MAY_SEND))
key = iam.create_access_key(UserName="beckon")["AccessKey"]
responses.settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
say({"url": url, "access_key_id": key["AccessKeyId"], "secret": key["SecretAccessKey"]})

for _ in sys.stdin:
    say([vars(mail) for accounts in ses_backends.values() for mail in accounts[REGION].sent_messages])
