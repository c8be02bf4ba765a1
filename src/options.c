/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <stdbool.h>
#include <string.h>

#include "geometry.h"
#include "os.h"
#include "text.h"

#define PREFIX "POOLMALLOC_"

enum kind {
    CHOICE, /* one of two numbers, `low` or `high` */
    BYTES,  /* a number of bytes from `low` to `high`, with K, M, G or T behind it if wanted; or 0 */
    NAME,   /* one of `names`, stored as its number from 0 on */
    PATH,
    SIGNAL, /* its name or its number, stored as the number; or 0 */
    FOREIGN, /* ours, but read by another library: no mistake, and nothing to explain here */
};

struct option {
    const char *name;
    enum kind kind;
    size_t low, high, fallback;
    void *value;
    const char *help;
    const char *const *names; /* ends with NULL */
};

struct pm_options pm_options = {.alignment = PM_MALLOC_ALIGNMENT};
static size_t help;

static const char *const purge_names[] = {"eager", "balanced", "never", NULL};

static const char *const stats_names[] = {"0", "1", "text", "json", NULL};

static const struct option table[] = {
    {"ALIGNMENT", CHOICE, 8, 16, 16, &pm_options.alignment,
     "alignment of malloc in bytes; 8 packs denser, for programs that need no more", NULL},
    {"CHECK", CHOICE, 0, 1, 0, &pm_options.check,
     "1: every free is checked in the call; slow", NULL},
    {"REGION", BYTES, PM_REGION_MIN, PM_REGION_MAX, 0, &pm_options.region,
     "address space to reserve for the pools, e.g. 64G; 0: at least 4 times the memory, and 64G", NULL},
    {"PURGE", NAME, 0, 2, 1, &pm_options.purge,
     "when free pages go back: at once, above what was lately needed again, or when trimmed", purge_names},
    {"PURGE_THREAD", CHOICE, 0, 1, 0, &pm_options.purge_thread,
     "1: a background thread gives free pages back too, for programs that go idle", NULL},
    {"HUGE_PAGES", CHOICE, 0, 1, 1, &pm_options.huge_pages,
     "0: the pools never ask for huge pages; 1: those of large programs do", NULL},
    {"DEEPBIND", CHOICE, 0, 1, 0, &pm_options.deepbind,
     "0: dlopen drops RTLD_DEEPBIND, which gives a library libc's malloc; 1: it does not", NULL},
    {"STATS", NAME, 0, 3, 0, &pm_options.stats,
     "1, text or json: print statistics on stderr when the program exits", stats_names},
    {"STATS_FILE", PATH, 0, 0, 0, pm_options.stats_file,
     "print them to this file instead; %p in the name is the process number", NULL},
    {"STATS_SIGNAL", SIGNAL, 0, 0, 0, &pm_options.stats_signal,
     "print them on this signal, e.g. USR2, one that the program does not use", NULL},
    {"HELP", CHOICE, 0, 1, 0, &help, "1: print this table on stderr when the program starts", NULL},
    /* `poolmalloc advise` sets it for its recorder, which may stand in front of this library. */
    {"ADVISE_DIRECTORY", FOREIGN, 0, 0, 0, NULL, NULL, NULL},
};

#define OPTION_COUNT (sizeof table / sizeof table[0])

static void
complain(const struct option *option, const char *name, const char *problem)
{
    struct pm_text text;
    pm_text_start(&text, 2);
    pm_text_string(&text, "poolmalloc: ");
    /* A variable's name ends at its '='. */
    pm_text_bytes(&text, name, strcspn(name, "="));
    pm_text_string(&text, problem);
    if (option != NULL && option->kind == CHOICE) {
        pm_text_string(&text, "; it takes ");
        pm_text_number(&text, option->low);
        pm_text_string(&text, " or ");
        pm_text_number(&text, option->high);
    } else if (option != NULL && option->kind == NAME) {
        pm_text_string(&text, "; it takes ");
        for (const char *const *candidate = option->names; *candidate != NULL; candidate++) {
            pm_text_string(&text, candidate == option->names ? "" : candidate[1] != NULL ? ", " : " or ");
            pm_text_string(&text, *candidate);
        }
    } else if (option != NULL && option->kind == BYTES) {
        pm_text_string(&text, "; it takes 0 or a number of bytes from ");
        pm_text_number(&text, option->low >> 20);
        pm_text_string(&text, "M to ");
        pm_text_number(&text, option->high >> 40);
        pm_text_string(&text, "T");
    }
    if (option != NULL && option->kind == SIGNAL)
        pm_text_string(&text, "; it takes the name or number of a signal that a program can handle, or 0");
    pm_text_string(&text, "; " PREFIX "HELP=1 lists what there is\n");
    pm_text_flush(&text);
}

/* A decimal number with an optional K, M, G or T. False when it is anything else. */
static bool
parse_bytes(const char *string, size_t *bytes)
{
    size_t number = 0;
    const char *digit = string;
    for (; *digit >= '0' && *digit <= '9'; digit++) {
        if (number > PM_REGION_MAX)
            return false;
        number = number * 10 + (size_t)(*digit - '0');
    }
    if (digit == string || number > PM_REGION_MAX)
        return false;
    static const char units[] = "KMGT";
    const char *unit = *digit != '\0' ? strchr(units, *digit) : NULL;
    unsigned shift = unit != NULL ? 10 * ((unsigned)(unit - units) + 1) : 0;
    if (digit[unit != NULL] != '\0' || number > (PM_REGION_MAX >> shift))
        return false;
    *bytes = number << shift;
    return true;
}

static bool
set(const struct option *option, const char *string)
{
    size_t number;
    switch (option->kind) {
    case CHOICE:
        if (!parse_bytes(string, &number) || (number != option->low && number != option->high))
            return false;
        break;
    case BYTES:
        if (!parse_bytes(string, &number) || (number != 0 && (number < option->low || number > option->high)))
            return false;
        break;
    case NAME:
        for (number = 0; option->names[number] != NULL; number++)
            if (strcmp(option->names[number], string) == 0)
                break;
        if (option->names[number] == NULL)
            return false;
        break;
    case SIGNAL:
        number = (size_t)pm_os_signal_number(string);
        if (number == 0 && strcmp(string, "0") != 0)
            return false;
        break;
    case PATH:
        if (strlen(string) >= PM_OPTION_PATH_MAX)
            return false;
        strcpy(option->value, string);
        return true;
    default:
        return true;
    }
    *(size_t *)option->value = number;
    return true;
}

static void
read_variable(const char *variable)
{
    const char *name = variable + strlen(PREFIX);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        size_t length = strlen(table[i].name);
        if (strncmp(name, table[i].name, length) != 0 || name[length] != '=')
            continue;
        /* An empty value is how a shell script switches a variable off. */
        if (name[length + 1] != '\0' && !set(&table[i], name + length + 1))
            complain(&table[i], variable, " has a bad value");
        return;
    }
    complain(NULL, variable, " is not an option");
}

void
pm_options_read(char *const *environment)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (table[i].kind == PATH)
            *(char *)table[i].value = '\0';
        else if (table[i].kind != FOREIGN)
            *(size_t *)table[i].value = table[i].fallback;
    }
    if (pm_os_is_privileged())
        return;
    for (; environment != NULL && *environment != NULL; environment++)
        if (strncmp(*environment, PREFIX, strlen(PREFIX)) == 0)
            read_variable(*environment);
    if (help)
        pm_options_print(2);
}

void
pm_options_print(int fd)
{
    struct pm_text text;
    pm_text_start(&text, fd);
    pm_text_string(&text, "poolmalloc reads these environment variables (value in force, then the default):\n");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        const struct option *option = &table[i];
        if (option->kind == FOREIGN)
            continue;
        pm_text_string(&text, "  " PREFIX);
        pm_text_label(&text, option->name, 14);
        if (option->kind == PATH) {
            const char *path = option->value;
            pm_text_string(&text, *path != '\0' ? path : "(none)");
            pm_text_string(&text, " (none)  ");
        } else if (option->kind == NAME) {
            pm_text_string(&text, option->names[*(size_t *)option->value]);
            pm_text_string(&text, " (");
            pm_text_string(&text, option->names[option->fallback]);
            pm_text_string(&text, ")  ");
        } else {
            pm_text_number(&text, *(size_t *)option->value);
            pm_text_string(&text, " (");
            pm_text_number(&text, option->fallback);
            pm_text_string(&text, ")  ");
        }
        pm_text_string(&text, option->help);
        pm_text_string(&text, "\n");
    }
    pm_text_flush(&text);
}
