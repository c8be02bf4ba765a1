; SPDX-License-Identifier: MIT
;
; What is better written in Scheme: procedures that call procedures, and control. Primitives written in C never call
; back into the machine, so a continuation never holds a C frame. Programs that redefine one of these names do not
; change what the others do.

; ---- Numbers ----

(define (zero? n) (= n 0))
(define (positive? n) (> n 0))
(define (negative? n) (< n 0))
(define (even? n) (= (remainder n 2) 0))
(define (odd? n) (not (even? n)))
(define (abs n) (if (< n 0) (- n) n))
(define (square n) (* n n))
(define (gcd a b) (if (= b 0) (abs a) (gcd b (remainder a b))))
(define (lcm a b) (if (or (= a 0) (= b 0)) 0 (abs (* a (quotient b (gcd a b))))))

; ---- Lists ----

(define (%map1 f list)
  (let loop ((list list) (result '()))
    (if (pair? list)
        (loop (cdr list) (cons (f (car list)) result))
        (reverse result))))

(define (%any-null? lists)
  (and (pair? lists) (or (not (pair? (car lists))) (%any-null? (cdr lists)))))

(define (map f list . more)
  (if (null? more)
      (%map1 f list)
      (let loop ((lists (cons list more)) (result '()))
        (if (%any-null? lists)
            (reverse result)
            (loop (%map1 cdr lists) (cons (apply f (%map1 car lists)) result))))))

(define (for-each f list . more)
  (if (null? more)
      (let loop ((list list))
        (if (pair? list)
            (begin (f (car list)) (loop (cdr list)))))
      (let loop ((lists (cons list more)))
        (if (not (%any-null? lists))
            (begin (apply f (%map1 car lists)) (loop (%map1 cdr lists)))))))

(define (filter keep? list)
  (let loop ((list list) (result '()))
    (cond ((null? list) (reverse result))
          ((keep? (car list)) (loop (cdr list) (cons (car list) result)))
          (else (loop (cdr list) result)))))

(define (remove drop? list) (filter (lambda (x) (not (drop? x))) list))
(define (delete item list) (filter (lambda (x) (not (equal? x item))) list))

(define (fold-left f start list)
  (if (pair? list) (fold-left f (f start (car list)) (cdr list)) start))
(define (fold f start list)
  (if (pair? list) (fold f (f (car list) start) (cdr list)) start))
(define (fold-right f start list) (fold f start (reverse list)))
(define (reduce f default list)
  (if (null? list) default (fold f (car list) (cdr list))))

(define (iota count . options)
  (let ((start (if (pair? options) (car options) 0))
        (step (if (and (pair? options) (pair? (cdr options))) (cadr options) 1)))
    (let loop ((i (- count 1)) (list '()))
      (if (< i 0) list (loop (- i 1) (cons (+ start (* i step)) list))))))

(define (make-list count item)
  (let loop ((i 0) (list '())) (if (= i count) list (loop (+ i 1) (cons item list)))))
(define (list-copy list) (append list '()))
(define (last list) (if (pair? (cdr list)) (last (cdr list)) (car list)))
(define (list-head list count) (if (= count 0) '() (cons (car list) (list-head (cdr list) (- count 1)))))
(define (list-index f list)
  (let loop ((list list) (i 0))
    (cond ((null? list) #f) ((f (car list)) i) (else (loop (cdr list) (+ i 1))))))
(define (any f list) (and (pair? list) (or (f (car list)) (any f (cdr list)))))
(define (every f list) (or (null? list) (and (f (car list)) (every f (cdr list)))))
(define (find f list) (cond ((null? list) #f) ((f (car list)) (car list)) (else (find f (cdr list)))))
(define (delete-duplicates list)
  (let loop ((list list) (result '()))
    (cond ((null? list) (reverse result))
          ((member (car list) result) (loop (cdr list) result))
          (else (loop (cdr list) (cons (car list) result))))))

; A stable merge sort without deep recursion on long lists.
(define (%merge a b less?)
  (let loop ((a a) (b b) (result '()))
    (cond ((null? a) (append (reverse result) b))
          ((null? b) (append (reverse result) a))
          ((less? (car b) (car a)) (loop a (cdr b) (cons (car b) result)))
          (else (loop (cdr a) b (cons (car a) result))))))

(define (sort sequence less?)
  (define (step list count)
    (if (= count 1)
        (list-head list 1)
        (let ((half (quotient count 2)))
          (%merge (step list half) (step (list-tail list half) (- count half)) less?))))
  (cond ((vector? sequence) (list->vector (sort (vector->list sequence) less?)))
        ((null? sequence) '())
        (else (step sequence (length sequence)))))

; ---- Vectors, strings, tables ----

(define (vector-map f vector) (list->vector (%map1 f (vector->list vector))))
(define (vector-for-each f vector) (for-each f (vector->list vector)))
(define (vector-append . vectors) (list->vector (apply append (%map1 vector->list vectors))))
(define (vector-copy vector) (list->vector (vector->list vector)))
(define (string . characters) (list->string characters))
(define (string-upcase s) (list->string (%map1 char-upcase (string->list s))))
(define (string-downcase s) (list->string (%map1 char-downcase (string->list s))))
(define (string-for-each f s) (for-each f (string->list s)))
(define (string-null? s) (= (string-length s) 0))
(define (string-join strings separator)
  (if (null? strings)
      ""
      (apply string-append
             (car strings)
             (fold-right (lambda (s rest) (cons separator (cons s rest))) '() (cdr strings)))))
(define (string-index s c)
  (let loop ((i 0))
    (cond ((= i (string-length s)) #f) ((char=? (string-ref s i) c) i) (else (loop (+ i 1))))))

; No table of a program has this pair as a value.
(define %missing (list 'missing))
(define (hash-table-ref table key . failure)
  (let ((found (hash-table-ref/default table key %missing)))
    (cond ((not (eq? found %missing)) found)
          ((pair? failure) ((car failure)))
          (else (error "hash-table-ref: no such key:" key)))))
(define (hash-table-keys table) (%map1 car (hash-table->alist table)))
(define (hash-table-values table) (%map1 cdr (hash-table->alist table)))
(define (hash-table-walk table f)
  (for-each (lambda (entry) (f (car entry) (cdr entry))) (hash-table->alist table)))
(define (hash-table-update!/default table key f default)
  (hash-table-set! table key (f (hash-table-ref/default table key default))))

(define (call-with-output-string f)
  (let ((port (open-output-string)))
    (f port)
    (get-output-string port)))

(define (write-string s . port) (apply display s port))
(define (write-char c . port) (apply display c port))
(define (writeln x) (write x) (newline))
(define (load file)
  (let ((name (string->symbol file)))
    (for-each (lambda (form) (eval form name)) (%read-file file))))

; ---- Promises ----

(define (%make-promise thunk) (vector '%promise #f thunk))
(define (force promise)
  (if (not (vector-ref promise 1))
      (let ((content ((vector-ref promise 2))))
        (if (not (vector-ref promise 1))
            (begin (vector-set! promise 1 #t) (vector-set! promise 2 content)))))
  (vector-ref promise 2))

; ---- Continuations ----

; (%winds) is the list of (before . after) that are active. A continuation leaves and enters what differs.
(define (dynamic-wind before thunk after)
  (before)
  (%set-winds! (cons (cons before after) (%winds)))
  (let ((result (thunk)))
    (%set-winds! (cdr (%winds)))
    (after)
    result))

(define (%common-tail a b)
  (let ((difference (- (length a) (length b))))
    (let loop ((a (if (> difference 0) (list-tail a difference) a))
               (b (if (< difference 0) (list-tail b (- difference)) b)))
      (if (eq? a b) a (loop (cdr a) (cdr b))))))

(define (%rewind to)
  (let ((common (%common-tail (%winds) to)))
    (let leave ((winds (%winds)))
      (if (not (eq? winds common))
          (begin (%set-winds! (cdr winds)) ((cdar winds)) (leave (cdr winds)))))
    (let enter ((winds to))
      (if (not (eq? winds common))
          (begin (enter (cdr winds)) ((caar winds)) (%set-winds! winds))))))

(define (call/cc f)
  (let ((winds (%winds)))
    (%call/cc
     (lambda (k)
       (f (lambda result
            (if (not (eq? (%winds) winds)) (%rewind winds))
            (apply k result)))))))
(define call-with-current-continuation call/cc)
(define (call-with-escape-continuation f) (call/cc f))

(define (values . results)
  (if (and (pair? results) (null? (cdr results))) (car results) (cons '%values results)))
(define (call-with-values producer consumer)
  (let ((results (producer)))
    (if (and (pair? results) (eq? (car results) '%values))
        (apply consumer (cdr results))
        (consumer results))))

; ---- Errors ----

; (%handlers) is the list of active handlers. Each runs with those outside of it.
(define (%with-handlers handlers thunk)
  (let ((old (%handlers)))
    (dynamic-wind (lambda () (%set-handlers! handlers))
                  thunk
                  (lambda () (%set-handlers! old)))))

(define (with-exception-handler handler thunk)
  (%with-handlers (cons handler (%handlers)) thunk))

(define (raise-continuable object)
  (let ((handlers (%handlers)))
    (if (null? handlers)
        (%uncaught object)
        (%with-handlers (cdr handlers) (lambda () ((car handlers) object))))))

; The machine calls this for its own errors.
(define (raise object)
  (let ((handlers (%handlers)))
    (if (null? handlers)
        (%uncaught object)
        (%with-handlers (cdr handlers)
                        (lambda ()
                          ((car handlers) object)
                          (error "a handler returned from a raise of" object))))))

(define (error-message e) (error-object-message e))
(define (error? e) (error-object? e))
