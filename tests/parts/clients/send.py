"""Hands in a message as it lies in a file, by Python's smtplib.

usage: send.py PORT WAY CERTIFICATE MECHANISM USER PASSWORD FILE
"""
import smtplib
import ssl
import sys

port, way, certificate, mechanism, user, password, file = sys.argv[1:]
context = ssl.create_default_context(cafile=certificate)
if way == "implicit":
    relay = smtplib.SMTP_SSL("localhost", int(port), context=context)
else:
    relay = smtplib.SMTP("localhost", int(port))
with relay:
    if way == "starttls":
        relay.starttls(context=context)
    relay.ehlo()
    if mechanism:
        relay.user, relay.password = user, password
        relay.auth(mechanism, getattr(relay, "auth_" + mechanism.lower()))
    with open(file, "rb") as message:
        refused = relay.sendmail("app@sender.example", ["one@a.example"], message.read(), mail_options=["BODY=8BITMIME"])
    assert refused == {}, refused
