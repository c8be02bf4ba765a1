/* SPDX-License-Identifier: MIT
 *
 * scheme [--memory-limit BYTES] [FILE ...]
 *
 * Runs the files; without any, standard input, with a prompt if that is a terminal. An error is one line, with the file
 * and the line, and status 1.
 */
#include "scheme.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Programs ---- */

static void
report(struct scheme *s)
{
    fflush(stdout);
    print_condition(s, stderr, s->condition != NULL ? s->condition : s->out_of_memory);
    po_clear(&s->condition);
}

/* The value, or NULL: an error, which is reported, or the end (s->exiting). */
static value
evaluate(struct scheme *s, value datum, value file, uint32_t line)
{
    struct code *code = compile_program(s, datum, file, line);
    value result = code != NULL ? run(s, code) : NULL;
    po_decref(code);
    if (result == NULL && !s->exiting)
        report(s);
    return result;
}

static bool
run_text(struct scheme *s, const char *text, size_t length, const char *name)
{
    value file = symbol(s, name), datum;
    struct reader reader = {s, text, text + length, file, 1, 0};
    enum read_status status = READ_ERROR;
    while (file != NULL && !s->exiting && (status = read_datum(&reader, &datum)) == READ_DATUM) {
        value result = evaluate(s, datum, file, reader.line);
        po_decref(datum);
        po_decref(result);
        if (result == NULL && !s->exiting)
            break;
    }
    if (status == READ_INCOMPLETE)
        fail_at(s, file, reader.line, "the file ends within a datum");
    if (status == READ_INCOMPLETE || status == READ_ERROR)
        report(s);
    po_decref(file);
    return status == READ_END || s->exiting;
}

static bool
run_file(struct scheme *s, FILE *file, const char *name)
{
    char *text = NULL, block[4096];
    size_t length = 0, read;
    FILE *memory = open_memstream(&text, &length);
    while (memory != NULL && (read = fread(block, 1, sizeof block, file)) > 0)
        fwrite(block, 1, read, memory);
    bool good = !ferror(file);
    if (!good)
        fprintf(stderr, "scheme: %s: %s\n", name, strerror(errno));
    if (memory == NULL || fclose(memory) != 0)
        good = false;
    good = good && run_text(s, text, length, name);
    free(text);
    return good;
}

static bool
run_path(struct scheme *s, const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        fprintf(stderr, "scheme: %s: %s\n", path, strerror(errno));
        return false;
    }
    bool good = run_file(s, file, path);
    fclose(file);
    return good;
}

/* ---- The prompt ---- */

static void
interrupt(int signal_number)
{
    (void)signal_number;
    machine_interrupt();
}

/* Evaluates the complete data in `text`; what is left of it is an incomplete one. */
static size_t
evaluate_input(struct scheme *s, const char *text, size_t length, value file)
{
    struct reader reader = {s, text, text + length, file, 1, 0};
    enum read_status status;
    const char *done = text;
    value datum;
    while (!s->exiting && (status = read_datum(&reader, &datum)) != READ_END) {
        if (status == READ_INCOMPLETE)
            return (size_t)(done - text);
        if (status == READ_ERROR) {
            report(s);
            break;
        }
        done = reader.at;
        value result = evaluate(s, datum, file, reader.line);
        po_decref(datum);
        if (result != NULL && result != s->unspecified) {
            print(s, stdout, result, true);
            putchar('\n');
        }
        po_decref(result);
    }
    return length;
}

static void
converse(struct scheme *s)
{
    char *line = NULL, *pending = NULL;
    size_t capacity = 0, length = 0;
    ssize_t read;
    value file = symbol(s, "input");
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    puts("Scheme on poolobject. Ctrl-D leaves, Ctrl-C interrupts a program.");
    while (file != NULL && !s->exiting) {
        fputs(length == 0 ? "> " : "  ", stdout);
        fflush(stdout);
        if ((read = getline(&line, &capacity, stdin)) < 0)
            break;
        char *grown = realloc(pending, length + (size_t)read);
        if (grown == NULL)
            break;
        pending = grown;
        memcpy(pending + length, line, (size_t)read);
        length += (size_t)read;
        size_t done = evaluate_input(s, pending, length, file);
        memmove(pending, pending + done, length - done);
        length -= done;
    }
    if (!s->exiting)
        putchar('\n');
    free(pending);
    free(line);
    po_decref(file);
}

/* ---- The command ---- */

static int
usage(const char *problem)
{
    fprintf(stderr, "scheme: %s; usage: scheme [--memory-limit BYTES] [FILE ...]\n", problem);
    return 2;
}

static bool
run_all(struct scheme *s, char **paths)
{
    bool good = true;
    if (*paths == NULL && isatty(STDIN_FILENO))
        converse(s);
    else if (*paths == NULL)
        good = run_file(s, stdin, "stdin");
    for (; good && *paths != NULL && !s->exiting; paths++)
        good = run_path(s, *paths);
    return good;
}

int
main(int count, char **arguments)
{
    static struct scheme s;
    unsigned long long limit = 0;
    char **paths = arguments + (count > 0);
    if (*paths != NULL && strcmp(*paths, "--memory-limit") == 0) {
        char *end = NULL;
        errno = 0;
        if (paths[1] != NULL)
            limit = strtoull(paths[1], &end, 10);
        if (end == NULL || *end != '\0' || end == paths[1] || errno != 0 || limit == 0)
            return usage("--memory-limit needs a number of bytes");
        paths += 2;
    }
    if (*paths != NULL && **paths == '-')
        return usage("unknown option");
    if (!scheme_create(&s, limit)) {
        if (s.condition != NULL)
            report(&s);
        fprintf(stderr, "scheme: cannot start\n");
        scheme_destroy(&s);
        return 1;
    }
    bool good = run_all(&s, paths);
    int status = s.exiting ? s.exit_status : good ? 0 : 1;
    if (fflush(stdout) != 0) {
        fprintf(stderr, "scheme: standard output: %s\n", strerror(errno));
        status = 1;
    }
    size_t forgotten = scheme_destroy(&s);
    if (forgotten != 0) {
        fprintf(stderr, "scheme: %zu objects are still referenced, a bug of the interpreter\n", forgotten);
        return 70;
    }
    return status;
}
