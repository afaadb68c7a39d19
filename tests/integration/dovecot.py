# SPDX-License-Identifier: MIT
"""Dovecot's configuration. The tests write it for 2.3; conf() and option() give
the words of the Dovecot that is installed."""
import re
import subprocess

VERSION = subprocess.run(["dovecot", "--version"], capture_output=True,
                         text=True).stdout.split("-")[0].split(" ")[0].strip()
IS_24 = VERSION.startswith("2.4")

PLUGINS = {"zlib": "mail_compress"}

# what a configuration of this Dovecot begins with
HEAD = (f"dovecot_config_version = {VERSION}\n"
        f"dovecot_storage_version = {VERSION}\n" if IS_24 else "")

EXAMPLE = "90-restante-2.4.conf" if IS_24 else "90-restante.conf"

# what a site calls the place of the hold, and the plugins that act on it
HOLD = "restante_hold_path" if IS_24 else "restante_hold_location"
HOLD_PLUGINS = ("restante_hold_plugins" if IS_24
                else "restante_hold_plugin_settings")


def option(setting):
    """For -o: restante_holders=/x, as a setting of plugins."""
    return setting if IS_24 else f"plugin/{setting}"


# -- %variables

NAMES = {"u": "user", "n": "user | username", "d": "user | domain"}
SHORT = re.compile(r"%([und])")
IF = re.compile(r"%\{if;" + SHORT.pattern + r";([^;]*);(.*?);([^;]*);([^;}]*)\}")


def variables(text):
    """%u, %n, %d, and %{if;} of these."""
    if not IS_24:
        return text
    text = IF.sub(lambda found: f"%{{{NAMES[found[1]]} | if(" + ", ".join(
        f"'{word}'" for word in found.groups()[1:]) + ")}", text)
    return SHORT.sub(lambda found: f"%{{{NAMES[found[1]]}}}", text)


# -- where mailboxes are

def hold_place(location, prefix="mail"):
    """For -o, of a program that is to see the hold as the user's mailboxes."""
    return (["-o", f"{prefix}_location={location}"] if not IS_24 else
            [word for line in place(prefix, location)
             for word in ("-o", line.replace(" = ", "=").strip())])


def place(prefix, location):
    driver, path, *more = location.split(":")
    lines = [f"{prefix}_driver = {driver}", f"{prefix}_path = {path}"]
    for part in more:
        name, value = part.split("=", 1)
        lines.append(f"mailbox_list_layout = {value}" if name == "LAYOUT" else
                     f"{prefix}_{name.lower()}_path = {value}")
    return lines


# -- accounts

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


def words_of(text):
    """a=b c=d, as pairs"""
    return [tuple(word.split("=", 1)) for word in text.split()]


def block(head, lines):
    return [head + " {", *(f"  {line}" for line in lines), "}"]


def fields_of(words):
    return block("fields", [f"{name} = {variables(value)}"
                            for name, value in words])


def args_of(kind, driver, args):
    """The lines that 2.4 has in place of args."""
    if driver == "passwd-file":
        *options, path = args.split()
        lines = [f"passwd_file_path = {path}"]
        for name, value in words_of(" ".join(options)):
            if value != "%u":
                lines.append(f"auth_{name} = {variables(value)}")
        return lines
    if driver != "static":
        raise ValueError(f"args of {driver}: {args}")
    words = words_of(args)
    own = [f"{kind}_static_{name} = {value}" for name, value in words
           if name == "allow_all_users"]
    return own + fields_of([word for word in words
                            if word[0] != "allow_all_users"])


def accounts_24(kind, lines):
    """A section passdb or userdb. Its name is that of its file or driver."""
    settings = dict(re.split(r"\s*=\s*", line.strip(), maxsplit=1)
                    for line in lines)
    driver = settings.pop("driver")
    args = settings.pop("args", "")
    out = [f"driver = {driver}"]
    if args:
        out += args_of(kind, driver, args)
    for name, value in settings.items():
        out += (fields_of(words_of(value)) if name == "default_fields"
                else [f"{name} = {variables(value)}"])
    name = args.rpartition("/")[2] if driver == "passwd-file" else driver
    return block(f"{kind} {name}", out)


def sqlite(write, database, password, user, listing):
    """SQL queries. write(name, text) makes a file that auth may read."""
    if not IS_24:
        settings = write("sql.conf.ext", (
            f"driver = sqlite\nconnect = {database}\n"
            f"password_query = {password}\nuser_query = {user}\n"
            f"iterate_query = {listing}\n"))
        return both("sql", settings)
    lines = ["sql_driver = sqlite", f"sqlite_path = {database}",
             *block("passdb sql", [f"query = {variables(password)}"]),
             *block("userdb sql", [f"query = {variables(user)}",
                                   f"iterate_query = {listing}"])]
    return "\n".join(lines) + "\n"


def both(driver, path):
    return "".join(f"{what} {{\n  driver = {driver}\n  args = {path}\n}}\n"
                   for what in ("passdb", "userdb"))


LDAP_GLOBAL = {"uris": "ldap_uris", "dn": "ldap_auth_dn",
               "dnpass": "ldap_auth_dn_password", "base": "ldap_base",
               "scope": "ldap_scope"}


def ldap_fields(attributes):
    """attribute=field, or =field=value"""
    words = []
    for each in re.split(r",\s*", attributes):
        attribute, field = each.split("=", 1)
        words.append((field, f"%{{ldap:{attribute}}}") if attribute
                     else tuple(field.split("=", 1)))
    return words


def ldap(write, **settings):
    """An LDAP directory, by the names that 2.3's file has."""
    if not IS_24:
        return both("ldap", write("ldap.conf.ext", "".join(
            f"{name} = {value}\n" for name, value in settings.items())))
    lines = [f"{LDAP_GLOBAL[name]} = {settings[name]}" for name in LDAP_GLOBAL]
    listing = [f"ldap_iterate_filter = {settings['iterate_filter']}"]
    if "iterate_attrs" in settings:
        listing += block("iterate_fields", [
            f"{name} = {value}" for name, value in
            ldap_fields(settings["iterate_attrs"])])
    for what, key, more in (("passdb", "pass", [
            f"passdb_default_password_scheme = "
            f"{settings['default_pass_scheme']}"]), ("userdb", "user", listing)):
        lines += block(f"{what} ldap", [
            f"ldap_filter = {variables(settings[key + '_filter'])}",
            *fields_of(ldap_fields(settings[key + "_attrs"])), *more])
    return "\n".join(lines) + "\n"


def plugin_list(names):
    return [PLUGINS.get(name.rstrip("_"), name.rstrip("_"))
            for name in names.split()]


# -- settings of plugins

RENAMED = {
    "acl": "acl_driver",
    "lazy_expunge": "lazy_expunge_mailbox",
    "mail_crypt_global_public_key": "crypt_global_public_key_file",
    "quota_grace": "quota_storage_grace",
    "zlib_save": "mail_compress_write_method",
    # 2.4's defaults, and what 2.4 has no more
    "fts_enforced": None, "mail_crypt_save_version": None,
    "quota_rule2": None, "quota_vsizes": None, "zlib_save_level": None,
}


def named(kind, name, lines=()):
    return block(f'{kind} "{name}"', lines)


def dict_of(value):
    kind, path = value.split(":", 1)
    return block(f"dict {kind}", [f"path = {path}"])


# those that have become another number of lines
SECTIONS = {
    "restante_hold_location": lambda value: place("restante_hold", value),
    "restante_hold_plugin_settings": lambda value: [
        f"restante_hold_plugins = {' '.join(plugin_list(value))}"],
    "mail_crypt_global_private_key": lambda value: block(
        "crypt_global_private_key main",
        [f"crypt_private_key_file = {value.lstrip('<')}"]),
    "quota": lambda value: named("quota", value.split(":", 1)[1], [
        f"quota_driver = {value.split(':', 1)[0]}"]),
    "quota_rule": lambda value: [
        f"quota_storage_size = {value.split('=', 1)[1]}"],
    "acl_shared_dict": lambda value: block("acl_sharing_map", dict_of(value)),
    "fts": lambda value: [*block(f"fts {value}", []), *block(
        "language en", ["default = yes"])],
    "fts_xapian": lambda value: [
        f"fts_xapian_{name} = {number}" for name, number in words_of(value)
        if name != "full"],
    "push_notification_driver": lambda value: block(
        f"push_notification {value}", []),
    "sieve": lambda value: block("sieve_script personal", [
        "type = personal", "path = " + value.removeprefix("file:").replace(
            ";active=", "\n  active_path = ")]),
}


def of_a_plugin(name, value):
    """The lines of a setting in plugin {}."""
    if name in SECTIONS:
        return SECTIONS[name](value)
    name = RENAMED.get(name, name)
    return [f"{name} = {value.lstrip('<')}".rstrip()] if name else []


# -- other settings

GLOBAL = {
    "address": "listen",        # of an inet_listener
    "mail_attachment_min_size": "mail_ext_attachment_min_size",
    "ssl_cert": "ssl_server_cert_file",
    "ssl_key": "ssl_server_key_file",
}


def environment(words):
    """import_environment: names, and names with values."""
    lines = []
    for word in words.split():
        if not word.startswith("$"):
            name, _, value = word.partition("=")
            lines.append(f"{name} = {value or '%{env:' + name + '}'}")
    return block("import_environment", lines)


def line_24(line, in_plugin):
    match = re.fullmatch(r"\s*(\S+)\s*=\s*(.*?)\s*", line)
    if not match:
        return [line]
    name, value = match.groups()
    if name == "mail_plugins" and value.startswith("$mail_plugins"):
        return block("mail_plugins", [
            f"{each} = yes" for each in plugin_list(value.split(" ", 1)[1])])
    if name == "mail_plugins":
        return [f"mail_plugins = {' '.join(plugin_list(value))}".rstrip()]
    if name == "import_environment":
        return environment(value)
    value = variables(value)
    if name in ("mail_location", "location"):
        return place("mail", value)
    if in_plugin:
        return of_a_plugin(name, value)
    if name == "mail_attachment_dir":
        return [f"mail_ext_attachment_path = {value}",
                *block("mail_ext_attachment", block("fs posix", []))]
    if name in GLOBAL:
        name, value = GLOBAL[name], value.lstrip("<")
    return [f"{name} = {value}".rstrip().replace("-o plugin/", "-o ")]


def conf(text):
    """Text for 2.3, with one setting or one brace in a line."""
    if not IS_24:
        return text
    out = []
    section, inside = None, []
    for line in text.splitlines():
        word = line.strip()
        if section is None and word in ("plugin {", "passdb {", "userdb {"):
            section, inside = word.split()[0], []
        elif section is None:
            out += line_24(line, False)
        elif word != "}":
            inside.append(line)
        else:
            if section == "plugin":
                for each in inside:
                    out += line_24(each, True)
            else:
                out += accounts_24(section, inside)
            section = None
    return "\n".join(out) + "\n"
