# SPDX-License-Identifier: MIT
"""The packaged examples, with what a site has otherwise."""
import os
import re

from .policyd import DEFAULTS
from .system import Failed, read

MARK = "# Made by restante-setup(8): \"restante-setup undo\" takes it away.\n"


def example(name):
    """Installed, or in the source tree."""
    here = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    for path in (f"{here}/{name}", f"{here}/dovecot/{name}"):
        if os.path.exists(path):
            return read(path)
    raise Failed(f"{name} is not installed in {here}")


def uncomment(text, name, value):
    return re.sub(rf"(?m)^(\s*)#{name} =.*$",
                  lambda match: f"{match[1]}{name} = {value}", text, count=1)


def bypass(text, is_24):
    """With it no new mail is held."""
    line = "restante_bypass = yes\n"
    if line in text:
        return text
    return text + (line if is_24 else f"plugin {{\n  {line}}}\n")


def lmtp_protocol(is_24):
    return ("protocols {\n  lmtp = yes\n}\n" if is_24
            else "protocols = $protocols lmtp\n")


def lmtp_service(queue):
    return ("\n# restante-setup --lmtp: where Postfix delivers\n"
            f"service lmtp {{\n  unix_listener {queue}/private/dovecot-lmtp "
            "{\n    mode = 0600\n    user = postfix\n    group = postfix\n"
            "  }\n}\n")


def snippet(is_24, conf, enrol, hold_path):
    """90-restante.conf. conf(name): a setting of restante-policyd"""
    text = example("90-restante-2.4.conf" if is_24 else "90-restante.conf")
    text = re.sub(r"(?m)^(\s*)user = restante$",
                  rf"\g<1>user = {conf('user')}", text)
    if enrol == "all":
        text = re.sub(r"(?m)^(\s*)restante = no$", r"\g<1>restante = yes", text)
    for name, setting in (("holders_directory", "restante_holders"),
                          ("control_socket", "restante_control_socket")):
        if conf(name) != DEFAULTS[name]:
            text = uncomment(text, setting, conf(name))
    if hold_path and is_24:
        text = uncomment(text, "restante_hold_path", hold_path +
                         "/%{user | domain}/%{user | username}")
    elif hold_path:
        text = uncomment(text, "restante_hold_location",
                         f"sdbox:{hold_path}/%d/%n")
    return MARK + text
