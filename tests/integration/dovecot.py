# SPDX-License-Identifier: MIT
"""Dovecot's configuration. The tests write it for 2.3; conf() and option() give
the words of the Dovecot that is installed."""
import re
import subprocess

VERSION = subprocess.run(["dovecot", "--version"], capture_output=True,
                         text=True).stdout.split("-")[0].split(" ")[0].strip()
IS_24 = VERSION.startswith("2.4")

PLUGINS = {"zlib": "mail_compress"}
VARIABLES = {"%u": "%{user}", "%n": "%{user | username}",
             "%d": "%{user | domain}"}

EXAMPLE = "90-restante-2.4.conf" if IS_24 else "90-restante.conf"

# what a site calls the place of the hold, and the plugins that act on it
HOLD = "restante_hold_path" if IS_24 else "restante_hold_location"
HOLD_PLUGINS = ("restante_hold_plugins" if IS_24
                else "restante_hold_plugin_settings")


def option(setting):
    """For -o: restante_holders=/x, as a setting of plugins."""
    return setting if IS_24 else f"plugin/{setting}"


def hold_place(location, prefix="mail"):
    """For -o, of a program that is to see the hold as the user's mailboxes."""
    return (["-o", f"{prefix}_location={location}"] if not IS_24 else
            [word for line in place(prefix, location)
             for word in ("-o", line.replace(" = ", "=").strip())])


def passdb(name, path, deny=False, field=None):
    """A passwd-file; field: name=value, which it returns by default."""
    if not IS_24:
        lines = ["passdb {", "  driver = passwd-file",
                 f"  args = username_format=%u {path}",
                 *(["  deny = yes"] if deny else []),
                 *([f"  default_fields = {field}"] if field else []), "}"]
    else:
        lines = [f"passdb {name} {{", "  driver = passwd-file",
                 f"  passwd_file_path = {path}",
                 *(["  deny = yes"] if deny else []),
                 *(["  fields {", "    " + field.replace("=", " = "), "  }"]
                   if field else []), "}"]
    return "\n".join(lines) + "\n"


def place(prefix, location):
    driver, path, *more = location.split(":")
    lines = [f"{prefix}_driver = {driver}", f"{prefix}_path = {path}"]
    for part in more:
        name, value = part.split("=", 1)
        lines.append(f"{prefix}_{name.lower()}_path = {value}")
    return lines


def plugin_list(names):
    return [PLUGINS.get(name.rstrip("_"), name.rstrip("_"))
            for name in names.split()]


def of_a_plugin(name, value):
    """The lines of a setting in plugin {}."""
    if name == "restante_hold_location":
        return place("restante_hold", value)
    if name == "restante_hold_plugin_settings":
        return [f"restante_hold_plugins = {' '.join(plugin_list(value))}"]
    if name == "mail_crypt_global_private_key":
        return ["crypt_global_private_key main {",
                f"  crypt_private_key_file = {value.lstrip('<')}", "}"]
    if name == "quota":
        kind, title = value.split(":", 1)
        return [f'quota "{title}" {{', f"  quota_driver = {kind}", "}"]
    if name == "quota_rule":
        return [f"quota_storage_size = {value.split('=')[1]}"]
    renamed = {
        "mail_crypt_global_public_key": "crypt_global_public_key_file",
        "quota_grace": "quota_storage_grace",
        "zlib_save": "mail_compress_write_method",
        # 2.4's defaults
        "mail_crypt_save_version": None, "quota_vsizes": None,
        "zlib_save_level": None,
    }
    name = renamed.get(name, name)
    return [f"{name} = {value.lstrip('<')}".rstrip()] if name else []


def environment(words):
    """import_environment: names, and names with values."""
    lines = ["import_environment {"]
    for word in words.split():
        if not word.startswith("$"):
            name, _, value = word.partition("=")
            lines.append(f"  {name} = {value or '%{env:' + name + '}'}")
    return [*lines, "}"]


def line_24(line, in_plugin):
    match = re.fullmatch(r"\s*(\S+)\s*=\s*(.*?)\s*", line)
    if not match:
        return [line]
    name, value = match.groups()
    if name == "mail_plugins" and value.startswith("$mail_plugins"):
        return ["mail_plugins {",
                *(f"  {each} = yes"
                  for each in plugin_list(value.split(" ", 1)[1])), "}"]
    if name == "mail_plugins":
        return [f"mail_plugins = {' '.join(plugin_list(value))}".rstrip()]
    if name == "import_environment":
        return environment(value)
    for short, long in VARIABLES.items():
        value = value.replace(short, long)
    if name in ("mail_location", "location"):
        return place("mail", value)
    if in_plugin:
        return of_a_plugin(name, value)
    return [f"{name} = {value}".rstrip().replace("-o plugin/", "-o ")]


def conf(text):
    """Text for 2.3, with one setting or one brace in a line."""
    if not IS_24:
        return text
    out = []
    in_plugin = False
    for line in text.splitlines():
        if line.strip() == "plugin {":
            in_plugin = True
        elif in_plugin and line.strip() == "}":
            in_plugin = False
        else:
            out += line_24(line, in_plugin)
    return "\n".join(out) + "\n"
